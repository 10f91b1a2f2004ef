// Threads that leave a request by a signal handler, which jumps out or ends the thread: out of KVM_RUN and out of the others. They
// hold nobody up.
#include "client.h"
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdatomic.h>

enum { RUNS = 0x3000, JUMPS = 100 };  // The guest counts at the first, and so says that it runs.

static struct machine m;
static _Thread_local sigjmp_buf place;
static atomic_int jumps, is_changing;

static void jump(int number) { siglongjmp(place, number); }
static void end(int number) { pthread_exit((void *)(uintptr_t)number); }

static void *run_guest(void *argument) {
    (void)argument;
    int number = sigsetjmp(place, 1);
    if (number == 0) ioctl(m.cpu, KVM_RUN, 0);
    return (void *)(uintptr_t)number;
}

static void change_slot(uint32_t slot) {
    struct kvm_userspace_memory_region region = {.slot = slot, .guest_phys_addr = 0x100000 + slot * 0x1000ull,
                                                 .memory_size = 0x1000, .userspace_addr = (uintptr_t)m.memory};
    ioctl(m.vm, KVM_SET_USER_MEMORY_REGION, &region);
    region.memory_size = 0;
    ioctl(m.vm, KVM_SET_USER_MEMORY_REGION, &region);
}

static void *change_slots(void *argument) {
    (void)argument;
    if (sigsetjmp(place, 1) != 0) jumps++;
    is_changing = 1;
    while (jumps < JUMPS) {
        change_slot(1);
        struct kvm_regs regs;
        ioctl(m.cpu, KVM_GET_REGS, &regs);
    }
    return NULL;
}

static void handle(int number, void (*handler)(int)) {
    struct sigaction action = {.sa_handler = handler};
    CHECK(sigaction(number, &action, NULL) == 0);
}

static void go_on(const char *name, void *result) {
    change_slot(2);
    static const uint8_t code[] = {0xB0, 0x2A, 0xE6, 0x10};  // mov al, 2ah; out 10h, al
    start_real(&m, m.cpu, code, sizeof code, 0x2000);
    CHECK(run(m.cpu, m.run) == KVM_EXIT_IO);
    printf("%s %d: ", name, (int)(uintptr_t)result);
    print_port(m.run);
}

static void leave(const char *name, int number, void (*handler)(int)) {
    static const uint8_t loop[] = {0xFE, 0x06, 0x00, 0x30, 0xEB, 0xFA};  // inc byte [3000h]; jmp back
    start_real(&m, m.cpu, loop, sizeof loop, 0x1000);
    m.memory[RUNS] = 0;
    handle(number, handler);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, run_guest, NULL) == 0);
    while (*(volatile uint8_t *)(m.memory + RUNS) == 0) sched_yield();
    CHECK(pthread_kill(thread, number) == 0);
    void *result;
    CHECK(pthread_join(thread, &result) == 0);
    go_on(name, result);
}

int main(void) {
    m = make_machine(0x10000);
    make_cpu(&m);
    leave("jumped", SIGUSR1, jump);
    leave("ended", SIGUSR1, end);
    // Sent, these are no faults of an instruction.
    leave("jumped", SIGSEGV, jump);
    leave("ended", SIGBUS, end);
    leave("jumped", SIGFPE, jump);
    // Out of requests that take no time, wherever in them.
    handle(SIGUSR2, jump);
    pthread_t thread;
    void *result;
    CHECK(pthread_create(&thread, NULL, change_slots, NULL) == 0);
    while (!is_changing) sched_yield();
    for (int sent = 0; sent < JUMPS; sent++) {
        while (jumps < sent) sched_yield();
        CHECK(pthread_kill(thread, SIGUSR2) == 0);
    }
    CHECK(pthread_join(thread, &result) == 0);
    printf("%d jumps\n", jumps);
    go_on("behind them", NULL);
    return 0;
}
// expect: jumped 10: out 10 1*1: 2a
// expect: ended 10: out 10 1*1: 2a
// expect: jumped 11: out 10 1*1: 2a
// expect: ended 7: out 10 1*1: 2a
// expect: jumped 8: out 10 1*1: 2a
// expect: 100 jumps
// expect: behind them 0: out 10 1*1: 2a
