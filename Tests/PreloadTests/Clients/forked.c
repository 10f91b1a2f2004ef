// A child of a fork with a machine of its own: its threads contend for it, and what it executes is its own.
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

enum { ADDS = 0xFE, SUBTRACTS = 0xFA, XORS = 0xEF };

// Runs a loop that does something in a vector register, and says what came out.
static uint8_t compute(uint8_t operation) {
    if (m.cpu < 0) {
        make_cpu(&m);
        uint8_t code[] = {0xB8, 3, 0, 0, 0, 0x66, 0x0F, 0x6E, 0xC0, 0x66, 0x0F, operation, 0xC0,
                          0x66, 0x0F, 0x7E, 0xC0, 0xE6, 0x10, 0xEB, 0xEB};  // mov eax, 3; movd; paddd, psubd or pxor; movd; out
        start_flat(&m, code, sizeof code, 0x3000, 0);
        struct kvm_sregs sregs;
        CHECK(ioctl(m.cpu, KVM_GET_SREGS, &sregs) == 0);
        sregs.cr4 |= 0x200;
        CHECK(ioctl(m.cpu, KVM_SET_SREGS, &sregs) == 0);
    }
    CHECK(run(m.cpu, m.run) == KVM_EXIT_IO);
    return *((uint8_t *)m.run + m.run->io.data_offset);
}

// Parent and child execute by turns what neither did before the fork.
static void compute_by_turns(void) {
    int here[2], there[2];
    char byte = 0;
    CHECK(pipe(here) == 0 && pipe(there) == 0);
    m = make_machine(0x10000);
    CHECK(compute(XORS) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    m = make_machine(0x10000);
    if (child == 0) {
        CHECK(compute(ADDS) == 6);
        CHECK(write(there[1], &byte, 1) == 1 && read(here[0], &byte, 1) == 1);
        _exit(compute(ADDS));
    }
    CHECK(read(there[0], &byte, 1) == 1);
    printf("minus %d\n", compute(SUBTRACTS));
    CHECK(write(here[1], &byte, 1) == 1);
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    printf("plus %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    printf("minus %d\n", compute(SUBTRACTS));
}

int main(void) {
    compute_by_turns();
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
// expect: minus 0
// expect: plus 6
// expect: minus 0
// expect: child 0
// expect: parent
