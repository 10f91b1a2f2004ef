// Two vCPUs on two threads, which hand a number to and fro in memory.
#include "client.h"
#include <pthread.h>

static struct machine m;

static void *run_guest(void *argument) {
    int cpu = *(int *)argument;
    struct kvm_run *area = map_area(&m, cpu);
    CHECK(run(cpu, area) == KVM_EXIT_HLT);
    return NULL;
}

int main(void) {
    m = make_machine(0x10000);
    int cpus[2];
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        CHECK((cpus[i] = ioctl(m.vm, KVM_CREATE_VCPU, i)) >= 0);
        uint8_t code[] = {
            0xA1, 0x00, 0x30,                      // next: mov ax, [3000h]
            0x3D, 0xE8, 0x03,                      // cmp ax, 1000
            0x73, 0x10,                            // jae end
            0x89, 0xC1,                            // mov cx, ax
            0x83, 0xE1, 0x01,                      // and cx, 1
            0x83, 0xF9, i,                         // cmp cx, i
            0x75, 0xEE,                            // jne next
            0xFF, 0x06, 0x00, 0x30,                // inc word [3000h]
            0xEB, 0xE8,                            // jmp next
            0xF4,                                  // end: hlt
        };
        start_real(&m, cpus[i], code, sizeof code, 0x1000 + i * 0x100);
    }
    for (int i = 0; i < 2; i++) CHECK(pthread_create(&threads[i], NULL, run_guest, &cpus[i]) == 0);
    for (int i = 0; i < 2; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    printf("%u\n", *(uint16_t *)(m.memory + 0x3000));
    return 0;
}
// expect: 1000
