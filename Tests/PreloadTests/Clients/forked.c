// A child of a fork with a machine of its own, for which its threads contend.
#include "client.h"
#include <pthread.h>
#include <sys/wait.h>

static struct machine m;

static void *contend(void *argument) {
    (void)argument;
    for (int i = 0; i < 20000; i++) {
        struct kvm_irq_level level = {.irq = 5, .level = i & 1};
        CHECK(ioctl(m.vm, KVM_IRQ_LINE, &level) == 0);
    }
    return NULL;
}

static void use(void) {
    m = make_machine(0x10000);
    CHECK(ioctl(m.vm, KVM_CREATE_IRQCHIP, 0) == 0);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) CHECK(pthread_create(&threads[i], NULL, contend, NULL) == 0);
    contend(NULL);
    for (int i = 0; i < 2; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    close(m.vm);
    close(m.kvm);
}

int main(void) {
    use();
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        use();
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    printf("child %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    use();
    printf("parent\n");
    return 0;
}
// expect: child 0
// expect: parent
