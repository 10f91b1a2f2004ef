// Real-address mode: a string over a port, a value in, HLT.
#include "client.h"

int main(void) {
    struct machine m = make_machine(0x10000);
    make_cpu(&m);
    static const uint8_t code[] = {
        0xBE, 0x20, 0x10,        // mov si, 1020h
        0xBA, 0xF8, 0x03,        // mov dx, 3f8h
        0xB9, 0x06, 0x00,        // mov cx, 6
        0xAC,                    // next: lodsb
        0xEE,                    // out dx, al
        0xE2, 0xFC,              // loop next
        0xEC,                    // in al, dx
        0x40,                    // inc ax
        0xE6, 0x10,              // out 10h, al
        0xF4,                    // hlt
    };
    start_real(&m, m.cpu, code, sizeof code, 0x1000);
    memcpy(m.memory + 0x1020, "hello\n", 6);
    for (;;) {
        switch (run(m.cpu, m.run)) {
        case KVM_EXIT_IO: {
            uint8_t *data = (uint8_t *)m.run + m.run->io.data_offset;
            if (m.run->io.direction == KVM_EXIT_IO_IN) *data = 0x41;
            else if (m.run->io.port == 0x3f8) putchar(*data);
            else print_port(m.run);
            break;
        }
        case KVM_EXIT_HLT: printf("halt\n"); return 0;
        default: printf("exit %u\n", m.run->exit_reason); return 1;
        }
    }
}
// expect: hello
// expect: out 10 1*1: 42
// expect: halt
