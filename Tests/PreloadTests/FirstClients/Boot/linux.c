// Boots a bzImage by the 64-bit boot protocol (Documentation/arch/x86/boot.rst, 1.14), to its first line on the serial port.
#include "../first.h"

enum { PARAMETERS = 0x10000, COMMAND_LINE = 0x20000, TABLES = 0x30000, KERNEL = 0x1000000, SIZE = 256 << 20 };

static void load(const char *path) {
    FILE *file = fopen(path, "rb");
    CHECK(file);
    uint8_t *image = memory + KERNEL;
    static uint8_t setup[64 << 10];
    CHECK(fread(setup, 1, 0x400, file) == 0x400);
    CHECK(memcmp(setup + 0x202, "HdrS", 4) == 0);
    unsigned sectors = setup[0x1F1] ? setup[0x1F1] : 4;
    CHECK(fseek(file, (sectors + 1) * 512, SEEK_SET) == 0);
    CHECK(fread(image, 1, SIZE - KERNEL, file) > 0);
    fclose(file);

    uint8_t *parameters = memory + PARAMETERS;
    memcpy(parameters + 0x1F1, setup + 0x1F1, 0x202 + setup[0x201] - 0x1F1);
    parameters[0x210] = 0xFF;                                              // type_of_loader
    *(uint32_t *)(parameters + 0x228) = COMMAND_LINE;
    strcpy((char *)memory + COMMAND_LINE, "earlyprintk=serial,ttyS0 console=ttyS0");
    parameters[0x1E8] = 2;                                                 // E820: two entries of 20 bytes
    struct { uint64_t start, size; uint32_t type; } __attribute__((packed)) map[] = {
        {0, 0x9F000, 1}, {0x100000, SIZE - 0x100000, 1}};
    memcpy(parameters + 0x2D0, map, sizeof map);
}

static struct first_segment flat(uint16_t selector, int type, int is_long) {
    return (struct first_segment){.limit = 0xFFFFFFFF, .selector = selector, .type = type, .present = 1, .s = 1,
                                  .db = !is_long, .l = is_long, .g = 1};
}

static void start(void) {
    uint64_t *tables = (uint64_t *)(memory + TABLES);
    tables[0] = TABLES + 0x1003;
    for (int i = 0; i < 4; i++) tables[512 + i] = TABLES + 0x2003 + i * 0x1000;
    for (int i = 0; i < 2048; i++) tables[1024 + i] = (uint64_t)i << 21 | 0x83;
    struct first_sregs sregs = {0};
    CHECK(ioctl(kvm, FIRST_GET_SREGS, &sregs) == 0);
    sregs.cs = flat(0x10, 11, 1);
    sregs.ds = sregs.es = sregs.ss = sregs.fs = sregs.gs = flat(0x18, 3, 0);
    sregs.cr3 = TABLES;
    sregs.cr4 = 0x20;
    sregs.efer = 0x500;
    sregs.cr0 = 0x80000011;
    CHECK(ioctl(kvm, FIRST_SET_SREGS, &sregs) == 0);
    set_regs((struct first_regs){.rip = KERNEL + 0x200, .rsi = PARAMETERS, .rsp = 0x8000, .rflags = 2});
}

// The processor without what a machine of that time did not have.
static void cpuid(void) {
    struct first_regs regs = get_regs();
    uint32_t leaf = regs.rax;
    answer_cpuid();
    regs = get_regs();
    if (leaf == 0 && regs.rax > 6) regs.rax = 6;
    if (leaf == 1) regs.rcx &= ~(1u << 26 | 1u << 27 | 1u << 28 | 1u << 21 | 1u << 24 | 1u << 3 | 1u << 31);
    if (leaf == 0x80000000 && (uint32_t)regs.rax > 0x80000008) regs.rax = 0x80000008;
    if (leaf == 0x80000001) regs.rcx &= 1;
    set_regs(regs);
}

int main(int count, char **words) {
    CHECK(count == 2);
    make_machine(SIZE);
    load(words[1]);
    start();
    char line[512];
    unsigned length = 0;
    for (;;) {
        switch (go()) {
        case EXIT_IO:
            if (run.io.direction && run.io.port == 0x3F8) {
                char c = run.io.value;
                if (length < sizeof line - 1) line[length++] = c;
                line[length] = 0;
                if (c == '\n') {
                    printf("%s", line);
                    if (strstr(line, "Linux version")) return 0;
                    length = 0;
                }
            } else if (!run.io.direction) {
                struct first_regs regs = get_regs();
                uint32_t value = run.io.port == 0x3FD ? 0x60 : 0xFFFFFFFF;
                regs.rax = run.io.size == 4 ? value : run.io.size == 2 ? (regs.rax & ~0xFFFFull) | (value & 0xFFFF)
                                                                       : (regs.rax & ~0xFFull) | (value & 0xFF);
                set_regs(regs);
            }
            run.emulated = 1;
            break;
        case EXIT_CPUID: cpuid(); break;
        case EXIT_MMIO:
            memset(run.mmio.data, 0xFF, 8);
            run.mmio_completed = 1;
            break;
        default: {
            struct first_regs regs = get_regs();
            printf("exit %u %u at %llx\n", run.exit_reason, run.hw.hardware_exit_reason, (unsigned long long)regs.rip);
            return 1;
        }
        }
    }
}
