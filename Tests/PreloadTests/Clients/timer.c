// The interrupt controllers and the timer of the hypervisor: ten ticks by way of the 8259, HLT in between.
#include "client.h"

int main(void) {
    struct machine m = make_machine(0x10000);
    CHECK(ioctl(m.vm, KVM_SET_TSS_ADDR, 0xFFFBD000) == 0);
    CHECK(ioctl(m.vm, KVM_CREATE_IRQCHIP, 0) == 0);
    struct kvm_pit_config pit = {0};
    CHECK(ioctl(m.vm, KVM_CREATE_PIT2, &pit) == 0);
    make_cpu(&m);
    static const uint8_t handler[] = {
        0x43,                                      // inc bx
        0xB0, 0x20, 0xE6, 0x20,                    // mov al, 20h; out 20h, al (end of interrupt)
        0xCF,                                      // iret
    };
    static const uint8_t code[] = {
        0xB0, 0x11, 0xE6, 0x20, 0xB0, 0x20, 0xE6, 0x21,  // 8259: ICW1, ICW2: vectors from 20h
        0xB0, 0x04, 0xE6, 0x21, 0xB0, 0x01, 0xE6, 0x21,  // ICW3, ICW4
        0xB0, 0xFE, 0xE6, 0x21,                          // all but line 0 masked
        0xB0, 0x34, 0xE6, 0x43,                          // 8254: channel 0, mode 2
        0xB0, 0x00, 0xE6, 0x40, 0xB0, 0x10, 0xE6, 0x40,  // 4096 ticks of 1.19 MHz
        0xFB,                                            // sti
        0xF4,                                            // next: hlt
        0x83, 0xFB, 0x0A,                                // cmp bx, 10
        0x72, 0xFA,                                      // jb next
        0xFA,                                            // cli
        0xB8, 0x0A, 0x00, 0xE7, 0x80,                    // mov ax, 10; out 80h, ax
        0xF4,                                            // hlt, which is for ever
    };
    memcpy(m.memory + 0x2000, handler, sizeof handler);
    *(uint32_t *)(m.memory + 0x20 * 4) = 0x2000;
    start_real(&m, m.cpu, code, sizeof code, 0x1000);
    CHECK(run(m.cpu, m.run) == KVM_EXIT_IO);
    print_port(m.run);
    return 0;
}
// expect: out 80 2*1: 0a 00
