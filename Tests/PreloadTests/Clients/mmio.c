// Memory-mapped I/O that echoes: what is written comes back inverted.
#include "client.h"

int main(void) {
    struct machine m = make_machine(0x200000);
    make_cpu(&m);
    static const uint8_t code[] = {
        0xBB, 0x00, 0x00, 0x00, 0xE0,              // mov ebx, e0000000h
        0xB8, 0x44, 0x33, 0x22, 0x11,              // mov eax, 11223344h
        0x89, 0x03,                                // mov [ebx], eax
        0x8B, 0x4B, 0x04,                          // mov ecx, [ebx + 4]
        0x66, 0x8B, 0x53, 0x06,                    // mov dx, [ebx + 6]
        0x88, 0x4B, 0x09,                          // mov [ebx + 9], cl
        0xF4,                                      // hlt
    };
    start_flat(&m, code, sizeof code, 0x10000, 0);
    uint8_t last[8] = {0};
    while (run(m.cpu, m.run) == KVM_EXIT_MMIO) {
        unsigned length = m.run->mmio.len;
        if (m.run->mmio.is_write) memcpy(last, m.run->mmio.data, 8);
        else for (unsigned i = 0; i < length; i++) m.run->mmio.data[i] = ~last[i];
        printf("%s %llx", m.run->mmio.is_write ? "write" : "read", m.run->mmio.phys_addr);
        for (unsigned i = 0; i < length; i++) printf(" %02x", m.run->mmio.data[i]);
        printf("\n");
    }
    struct kvm_regs regs;
    CHECK(ioctl(m.cpu, KVM_GET_REGS, &regs) == 0);
    printf("exit %u ecx %llx edx %llx\n", m.run->exit_reason, regs.rcx, regs.rdx);
    return 0;
}
// expect: write e0000000 44 33 22 11
// expect: read e0000004 bb cc dd ee
// expect: read e0000006 bb cc
// expect: write e0000009 bb
// expect: exit 5 ecx eeddccbb edx ccbb
