// Forks while another thread's vCPU meets code that it has not seen: the child's machine is as good as any.
#include "client.h"
#include <pthread.h>
#include <stdatomic.h>

enum { SIZE = 4 << 20, START = 0x10000 };

static atomic_bool over;

// A vCPU at 32-bit code that may use vectors.
static void start_vectors(struct machine *m, const void *code, size_t size) {
    make_cpu(m);
    start_flat(m, code, size, START, 0);
    struct kvm_sregs sregs;
    CHECK(ioctl(m->cpu, KVM_GET_SREGS, &sregs) == 0);
    sregs.cr4 |= 0x200;
    CHECK(ioctl(m->cpu, KVM_SET_SREGS, &sregs) == 0);
}

// Megabytes of PSHUFD in all its forms, each executed once.
static void *meet_code(void *argument) {
    struct machine m = make_machine(SIZE);
    uint8_t *code = m.memory + START, *end = m.memory + SIZE - 16;
    for (unsigned i = 0; code < end; i++, code += 5)
        memcpy(code, (uint8_t[]){0x66, 0x0F, 0x70, 0xC0 | (i >> 8 & 0x3F), i}, 5);
    memcpy(code, (uint8_t[]){0xE6, 0x10}, 2);  // out
    start_vectors(&m, m.memory + START, 0);
    CHECK(run(m.cpu, m.run) == KVM_EXIT_IO);
    atomic_store(&over, 1);
    return argument;
}

static int add(void) {
    struct machine m = make_machine(0x20000);
    // mov eax, 3; movd xmm0, eax; paddd xmm0, xmm0; movd eax, xmm0; out
    uint8_t code[] = {0xB8, 3, 0, 0, 0, 0x66, 0x0F, 0x6E, 0xC0, 0x66, 0x0F, 0xFE, 0xC0, 0x66, 0x0F, 0x7E, 0xC0, 0xE6, 0x10};
    start_vectors(&m, code, sizeof code);
    CHECK(run(m.cpu, m.run) == KVM_EXIT_IO);
    return *((uint8_t *)m.run + m.run->io.data_offset);
}

int main(void) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, meet_code, NULL) == 0);
    int wrong = 0;
    do {
        pid_t child = fork();
        if (child == 0) _exit(add());
        int status = status_of(child);
        if (status == 77) exit(77);  // as `run` says
        if (status != 6) {
            fprintf(stderr, "a child ended with %d\n", status);
            wrong++;
        }
    } while (!atomic_load(&over) && wrong == 0);
    printf("wrong %d\n", wrong);
    if (wrong) return 1;
    CHECK(pthread_join(thread, NULL) == 0);
    printf("parent %d\n", add());
    return 0;
}
// expect: wrong 0
// expect: parent 6
