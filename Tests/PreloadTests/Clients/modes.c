// Protected and 64-bit mode, set up from outside.
#include "client.h"

static void run_to_halt(struct machine *m) {
    while (run(m->cpu, m->run) == KVM_EXIT_IO) print_port(m->run);
    CHECK(m->run->exit_reason == KVM_EXIT_HLT);
    struct kvm_regs regs;
    CHECK(ioctl(m->cpu, KVM_GET_REGS, &regs) == 0);
    printf("rax %llx rip %llx\n", regs.rax, regs.rip);
}

int main(void) {
    static const uint8_t protected[] = {
        0xB8, 0x78, 0x56, 0x34, 0x12,              // mov eax, 12345678h
        0xE7, 0x20,                                // out 20h, eax
        0x05, 0x01, 0x00, 0x00, 0x00,              // add eax, 1
        0xF4,                                      // hlt
    };
    struct machine m = make_machine(0x200000);
    make_cpu(&m);
    start_flat(&m, protected, sizeof protected, 0x10000, 0);
    run_to_halt(&m);
    static const uint8_t wide[] = {
        0x48, 0xB8, 0xF0, 0xDE, 0xBC, 0x9A, 0x78, 0x56, 0x34, 0x12,  // mov rax, 123456789abcdef0h
        0x48, 0x0F, 0xC8,                          // bswap rax
        0xE7, 0x20,                                // out 20h, eax
        0x48, 0x89, 0x04, 0x25, 0x00, 0x90, 0x00, 0x00,              // mov [9000h], rax
        0xF4,                                      // hlt
    };
    start_flat(&m, wide, sizeof wide, 0x10000, 1);
    run_to_halt(&m);
    printf("memory %llx\n", *(unsigned long long *)(m.memory + 0x9000));
    return 0;
}
// expect: out 20 4*1: 78 56 34 12
// expect: rax 12345679 rip 1000d
// expect: out 20 4*1: 12 34 56 78
// expect: rax f0debc9a78563412 rip 10018
// expect: memory f0debc9a78563412
