// Out of a guest that never ends: by immediate_exit, by a handled signal, by a blocked one that KVM_SET_SIGNAL_MASK lets
// through, in a loop and in HLT.
#include "client.h"
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { RUNS = 0x3000 };  // The guest counts here, and so says that it runs.

static struct machine m;
static atomic_int handled;
static pthread_t runner;

static void handle(int number, siginfo_t *information, void *context) {
    (void)context;
    // A handler may ask for the vCPU's registers.
    struct kvm_regs regs;
    if (number == SIGUSR1 && information->si_code == SI_TKILL && ioctl(m.cpu, KVM_GET_REGS, &regs) == 0) handled++;
}

// Sends the signal once the guest runs.
static void *send_signal(void *argument) {
    volatile uint8_t *runs = m.memory + RUNS;
    while (*runs == 0) sched_yield();
    CHECK(pthread_kill(runner, *(int *)argument) == 0);
    return NULL;
}

// From the beginning of the code, with the signal on its way as soon as the guest is inside.
static void kick(int number, const char *name, const void *code, size_t size) {
    struct kvm_mp_state runnable = {KVM_MP_STATE_RUNNABLE};  // It may be halted still.
    CHECK(ioctl(m.cpu, KVM_SET_MP_STATE, &runnable) == 0);
    start_real(&m, m.cpu, code, size, 0x1000);
    m.memory[RUNS] = 0;
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, send_signal, &number) == 0);
    int result = ioctl(m.cpu, KVM_RUN, 0), error = errno;
    CHECK(pthread_join(thread, NULL) == 0);
    printf("%s: %d %s exit %u\n", name, result, result < 0 && error == EINTR ? "EINTR" : "?", m.run->exit_reason);
}

int main(void) {
    m = make_machine(0x10000);
    CHECK(ioctl(m.vm, KVM_SET_TSS_ADDR, 0xFFFBD000) == 0);
    CHECK(ioctl(m.vm, KVM_CREATE_IRQCHIP, 0) == 0);
    make_cpu(&m);
    runner = pthread_self();
    static const uint8_t loop[] = {0xFE, 0x06, 0x00, 0x30, 0xEB, 0xFE};              // inc byte [3000h]; jmp $
    static const uint8_t halt[] = {0xFA, 0xFE, 0x06, 0x00, 0x30, 0xF4, 0xEB, 0xFD};  // cli; inc byte [3000h]; hlt
    start_real(&m, m.cpu, loop, sizeof loop, 0x1000);

    m.run->immediate_exit = 1;
    CHECK(ioctl(m.cpu, KVM_RUN, 0) == -1 && errno == EINTR);
    m.run->immediate_exit = 0;
    printf("immediate\n");

    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_RESTART};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    struct sigaction back;
    CHECK(sigaction(SIGUSR1, NULL, &back) == 0 && back.sa_sigaction == handle);
    kick(SIGUSR1, "handled", loop, sizeof loop);
    CHECK(handled > 0);
    handled = 0;
    kick(SIGUSR1, "handled in HLT", halt, sizeof halt);
    CHECK(handled > 0);

    // SIGUSR2 is blocked, has the default action, and is let through by the vCPU's mask alone.
    sigset_t blocked, former;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR2);
    CHECK(pthread_sigmask(SIG_BLOCK, &blocked, &former) == 0);
    struct { struct kvm_signal_mask mask; uint64_t set; } __attribute__((packed)) mask = {{.len = 8}, 0};
    mask.set = 1ull << (SIGTERM - 1);
    CHECK(ioctl(m.cpu, KVM_SET_SIGNAL_MASK, &mask) == 0);
    kick(SIGUSR2, "blocked in HLT", halt, sizeof halt);
    sigset_t pending;
    CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGUSR2) == 1);
    siginfo_t information;
    struct timespec none = {0, 0};
    CHECK(sigtimedwait(&blocked, &information, &none) == SIGUSR2 && information.si_code == SI_USER);  // As the C library says it.
    kick(SIGUSR2, "blocked", loop, sizeof loop);
    // It is still waiting, and so the next run ends at once.
    CHECK(ioctl(m.cpu, KVM_RUN, 0) == -1 && errno == EINTR);
    CHECK(sigtimedwait(&blocked, &information, &none) == SIGUSR2);
    sigset_t now;
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &now) == 0);
    CHECK(sigismember(&now, SIGUSR2) == 1 && sigismember(&now, SIGTERM) == 0 && sigismember(&now, SIGUSR1) == 0);
    // Without the mask the blocked signal does nothing: the handled one ends the run.
    CHECK(ioctl(m.cpu, KVM_SET_SIGNAL_MASK, NULL) == 0);
    CHECK(pthread_kill(runner, SIGUSR2) == 0);
    handled = 0;
    kick(SIGUSR1, "handled again", loop, sizeof loop);
    CHECK(handled > 0 && sigtimedwait(&blocked, &information, &none) == SIGUSR2);
    return 0;
}
// expect: immediate
// expect: handled: -1 EINTR exit 10
// expect: handled in HLT: -1 EINTR exit 10
// expect: blocked in HLT: -1 EINTR exit 10
// expect: blocked: -1 EINTR exit 10
// expect: handled again: -1 EINTR exit 10
