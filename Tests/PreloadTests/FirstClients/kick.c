// A signal ends KVM_RUN, whose structure says nothing new then, and whose guest goes on where it was.
#include "first.h"
#include <pthread.h>
#include <sched.h>

enum { RUNS = 0x3000 };  // The guest counts here, and so says that it runs.

static const uint8_t code[] = {0xFE, 0x06, 0x00, 0x30, 0xEB, 0xFA};  // inc byte [3000h]; jmp 1000h
static pthread_t runner;
static volatile sig_atomic_t handled;

static void handle(int number) { handled += number == SIGUSR1; }

static void *send_signal(void *argument) {
    volatile uint8_t *runs = memory + RUNS;
    while (*runs == 0) sched_yield();
    CHECK(pthread_kill(runner, SIGUSR1) == 0);
    return argument;
}

int main(void) {
    make_machine(0x10000);
    runner = pthread_self();
    struct sigaction action = {.sa_handler = handle};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    start_real(code, sizeof code);
    for (int round = 1; round <= 3; round++) {
        memory[RUNS] = 0;
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, send_signal, NULL) == 0);
        int result = ioctl(kvm, FIRST_RUN, &run), error = errno;
        CHECK(pthread_join(thread, NULL) == 0);
        uint64_t at = get_regs().rip;
        printf("%d: %s, handled %d, inside %d\n", result, strerror(error), handled, at >= 0x1000 && at < 0x1006);
    }
    return 0;
}
// expect: -1: Interrupted system call, handled 1, inside 1
// expect: -1: Interrupted system call, handled 2, inside 1
// expect: -1: Interrupted system call, handled 3, inside 1
