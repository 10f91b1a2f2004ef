// A real-mode guest: console, string output and input, forwards and backwards, MMIO, CPUID, steps, breakpoints, HLT.
#include "first.h"

static const uint8_t code[] = {
    0xB0, 0x48, 0xE6, 0x10,                  // 1000: mov al, 'H'; out 10h, al
    0xE4, 0x11, 0xA2, 0x00, 0x30,            // 1004: in al, 11h; mov [3000h], al
    0xBE, 0x00, 0x20, 0xB9, 0x05, 0x00,      // 1009: mov si, 2000h; mov cx, 5
    0xBA, 0x12, 0x00, 0xF3, 0x6E,            // 100f: mov dx, 12h; rep outsb
    0xFD, 0xBF, 0x13, 0x30,                  // 1014: std; mov di, 3013h
    0xB9, 0x04, 0x00, 0xF3, 0x6C, 0xFC,      // 1018: mov cx, 4; rep insb; cld
    0x31, 0xC0, 0x0F, 0xA2,                  // 101e: xor ax, ax; cpuid
    0xB8, 0x00, 0xB8, 0x8E, 0xD8,            // 1022: mov ax, b800h; mov ds, ax
    0xC6, 0x06, 0x05, 0x00, 0x5A,            // 1027: mov byte [5], 5ah
    0xA0, 0x06, 0x00,                        // 102c: mov al, [6]
    0x90, 0x90, 0xF4,                        // 102f: nop; nop; hlt
};

int main(void) {
    make_machine(0x10000);
    memcpy(memory + 0x2000, "hello", 5);
    start_real(code, sizeof code);
    for (;;) {
        switch (go()) {
        case EXIT_IO:
            if (run.io.string) { move_string("wxyz"); break; }
            if (run.io.direction) printf("out %x: %c\n", run.io.port, (char)run.io.value);
            else {
                struct first_regs regs = get_regs();
                regs.rax = 0x69;
                set_regs(regs);
                printf("in %x at %llx length %u\n", run.io.port, (unsigned long long)regs.rip, run.instruction_length);
            }
            run.emulated = 1;
            break;
        case EXIT_CPUID: printf("cpuid\n"); answer_cpuid(); break;
        case EXIT_MMIO:
            printf("mmio %s %llx %u\n", run.mmio.is_write ? "write" : "read", (unsigned long long)run.mmio.phys_addr, run.mmio.len);
            if (!run.mmio.is_write) {
                run.mmio.data[0] = 0x77;
                struct first_debug debug = {.enabled = 1, .singlestep = 1};
                CHECK(ioctl(kvm, FIRST_DEBUG_GUEST, &debug) == 0);
            }
            run.mmio_completed = 1;
            break;
        case EXIT_DEBUG: {
            struct first_regs regs = get_regs();
            printf("debug at %llx al %02llx\n", (unsigned long long)regs.rip, (unsigned long long)regs.rax & 0xFF);
            struct first_debug debug = {.enabled = 1, .breakpoints = {{.enabled = 1, .address = 0x1031}}};
            if (regs.rip >= 0x1031) debug = (struct first_debug){0};
            CHECK(ioctl(kvm, FIRST_DEBUG_GUEST, &debug) == 0);
            break;
        }
        case EXIT_HLT: {
            uint64_t bits = 0;
            struct first_log log = {.bitmap = &bits};
            CHECK(ioctl(kvm, FIRST_GET_DIRTY_LOG, &log) == 0);
            printf("halt: %.4s %c\n", memory + 0x3010, memory[0x3000]);
            printf("dirty %s\n", bits & 8 ? "the guest's page" : "nothing");
            return 0;
        }
        default: printf("exit %u\n", run.exit_reason); return 1;
        }
    }
}
// expect: out 10: H
// expect: in 11 at 1004 length 2
// expect: out string 1 rep 1 down 0 count 5 at 2000: h e l l o
// expect: in string 1 rep 1 down 1 count 4 at 3013: w x y z
// expect: cpuid
// expect: mmio write b8005 1
// expect: mmio read b8006 1
// expect: debug at 102f al 77
// expect: debug at 1031 al 77
// expect: halt: zyxw i
// expect: dirty the guest's page
