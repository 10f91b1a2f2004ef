// A thread that is cancelled inside a request, at once or at its next cancellation point: it holds nobody up, its vCPU is as good
// as before, and no request is a cancellation point itself.
#include "client.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

enum { RUNS = 0x3000 };  // The guest counts here, and so says that it runs.

static struct machine m;
static atomic_int came_back, cleaned;

static void clean(void *argument) {
    (void)argument;
    struct kvm_regs regs;
    if (ioctl(m.cpu, KVM_GET_REGS, &regs) == 0) cleaned++;
}

static void *run_guest(void *type) {
    CHECK(pthread_setcanceltype(*(int *)type, NULL) == 0);
    pthread_cleanup_push(clean, NULL);
    ioctl(m.cpu, KVM_RUN, 0);
    came_back++;
    pthread_testcancel();
    pthread_cleanup_pop(0);
    return NULL;
}

// Everybody else goes on: slots are changed, and the vCPU runs on another thread.
static void go_on(const char *name) {
    struct kvm_userspace_memory_region region = {.slot = 1, .guest_phys_addr = 0x100000, .memory_size = 0x1000,
                                                 .userspace_addr = (uintptr_t)m.memory};
    CHECK(ioctl(m.vm, KVM_SET_USER_MEMORY_REGION, &region) == 0);
    region.memory_size = 0;
    CHECK(ioctl(m.vm, KVM_SET_USER_MEMORY_REGION, &region) == 0);
    struct kvm_mp_state runnable = {KVM_MP_STATE_RUNNABLE};
    CHECK(ioctl(m.cpu, KVM_SET_MP_STATE, &runnable) == 0);
    static const uint8_t code[] = {0xB0, 0x2A, 0xE6, 0x10};  // mov al, 2ah; out 10h, al
    start_real(&m, m.cpu, code, sizeof code, 0x2000);
    CHECK(run(m.cpu, m.run) == KVM_EXIT_IO);
    printf("%s: ", name);
    print_port(m.run);
}

static void cancel(const char *name, int type, const void *code, size_t size) {
    start_real(&m, m.cpu, code, size, 0x1000);
    m.memory[RUNS] = 0;
    came_back = cleaned = 0;
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, run_guest, &type) == 0);
    while (*(volatile uint8_t *)(m.memory + RUNS) == 0) sched_yield();
    CHECK(pthread_cancel(thread) == 0);
    // Not every C library tells a thread at once that is to end later.
    if (type == PTHREAD_CANCEL_DEFERRED) CHECK(pthread_kill(thread, SIGUSR1) == 0);
    void *result;
    CHECK(pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED && cleaned == 1);
    CHECK(came_back == (type == PTHREAD_CANCEL_DEFERRED));
    go_on(name);
}

// Cancelled before it asks for anything.
static void *ask(void *argument) {
    int *done = argument;
    CHECK(pthread_cancel(pthread_self()) == 0);
    int bell = eventfd(0, EFD_CLOEXEC);
    struct kvm_irqfd irqfd = {.fd = bell, .gsi = 5};
    struct kvm_ioeventfd ioeventfd = {.fd = bell, .addr = 0x20, .len = 1, .flags = KVM_IOEVENTFD_FLAG_PIO};
    struct kvm_clock_data clock;
    *done += ioctl(m.kvm, KVM_CREATE_VM, 0) >= 0;
    *done += ioctl(m.vm, KVM_CREATE_VCPU, 1) >= 0;
    *done += ioctl(m.vm, KVM_IRQFD, &irqfd) == 0;
    *done += ioctl(m.vm, KVM_IOEVENTFD, &ioeventfd) == 0;
    *done += ioctl(m.vm, KVM_GET_CLOCK, &clock) == 0;
    *done += ioctl(m.vm, KVM_GET_STATS_FD, 0) >= 0;
    *done += mmap(NULL, m.area, PROT_READ | PROT_WRITE, MAP_SHARED, m.cpu, 0) != MAP_FAILED;
    irqfd.flags = KVM_IRQFD_FLAG_DEASSIGN;
    *done += ioctl(m.vm, KVM_IRQFD, &irqfd) == 0;
    pthread_testcancel();
    return NULL;
}

static void wake(int number) { (void)number; }

int main(void) {
    struct sigaction action = {.sa_handler = wake};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    m = make_machine(0x10000);
    CHECK(ioctl(m.vm, KVM_SET_TSS_ADDR, 0xFFFBD000) == 0);
    CHECK(ioctl(m.vm, KVM_CREATE_IRQCHIP, 0) == 0);
    make_cpu(&m);
    static const uint8_t loop[] = {0xFE, 0x06, 0x00, 0x30, 0xEB, 0xFA};              // inc byte [3000h]; jmp back
    static const uint8_t halt[] = {0xFA, 0xFE, 0x06, 0x00, 0x30, 0xF4, 0xEB, 0xFD};  // cli; inc byte [3000h]; hlt
    cancel("at once", PTHREAD_CANCEL_ASYNCHRONOUS, loop, sizeof loop);
    cancel("at once, in HLT", PTHREAD_CANCEL_ASYNCHRONOUS, halt, sizeof halt);
    cancel("later", PTHREAD_CANCEL_DEFERRED, loop, sizeof loop);
    cancel("later, in HLT", PTHREAD_CANCEL_DEFERRED, halt, sizeof halt);
    int done = 0;
    pthread_t thread;
    void *result;
    CHECK(pthread_create(&thread, NULL, ask, &done) == 0);
    CHECK(pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED);
    printf("%d requests of a cancelled thread\n", done);
    go_on("behind them");
    return 0;
}
// expect: at once: out 10 1*1: 2a
// expect: at once, in HLT: out 10 1*1: 2a
// expect: later: out 10 1*1: 2a
// expect: later, in HLT: out 10 1*1: 2a
// expect: 8 requests of a cancelled thread
// expect: behind them: out 10 1*1: 2a
