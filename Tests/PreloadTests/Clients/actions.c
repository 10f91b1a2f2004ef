// Signals' actions, as the C library shows them and as they are carried out, where a hypervisor may have handlers of its own.
#include "client.h"
#include <sys/resource.h>
#include <sys/wait.h>

static volatile sig_atomic_t served;
static void serve(int number) { served = number; }

// Which signal ends a child that is sent one, which its vCPU's mask lets through: with the default action, or ignored.
static int end_by(int number, void (*action)(int)) {
    fflush(stdout);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        struct rlimit none = {0};
        CHECK(setrlimit(RLIMIT_CORE, &none) == 0);
        struct machine m = make_machine(0x10000);
        make_cpu(&m);
        struct { struct kvm_signal_mask mask; uint64_t set; } __attribute__((packed)) mask = {{.len = 8}, 0};
        CHECK(ioctl(m.cpu, KVM_SET_SIGNAL_MASK, &mask) == 0);
        CHECK(signal(number, action) != SIG_ERR);
        CHECK(kill(getpid(), number) == 0);
        _exit(1);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

int main(void) {
    begin();
    struct sigaction once = {.sa_handler = serve, .sa_flags = SA_RESETHAND}, now;
    CHECK(sigaction(SIGUSR1, &once, NULL) == 0);
    CHECK(sigaction(SIGUSR1, NULL, &now) == 0 && now.sa_handler == serve);
    CHECK(raise(SIGUSR1) == 0 && served == SIGUSR1);
    CHECK(sigaction(SIGUSR1, NULL, &now) == 0 && now.sa_handler == SIG_DFL);
    CHECK(signal(SIGUSR1, SIG_IGN) == SIG_DFL && signal(SIGUSR1, SIG_DFL) == SIG_IGN);
    printf("served once\n");
    for (int ignores = 0; ignores < 2; ignores++) {
        void (*action)(int) = ignores ? SIG_IGN : SIG_DFL;
        printf("ended by %d %d %d\n", end_by(SIGSEGV, action), end_by(SIGBUS, action), end_by(SIGTERM, action));
    }
    return 0;
}
// expect: served once
// expect: ended by 11 7 15
// expect: ended by 0 0 0
