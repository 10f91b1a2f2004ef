// A guest that goes to protected mode with paging by itself. What it hands over are linear addresses, two of its pages are
// mapped elsewhere, and so the client asks for the physical ones.
#include "first.h"

enum { START = 0x1000, TEXT = 0x5000, DIRECTORY = 0x6000, LOW = 0x7000, HIGH = 0x8000 };

extern const uint8_t guest[], last[], guest_end[];
__asm__(".pushsection .rodata\n"
        ".code16\n"
        "guest: lgdtw 0x1000 + table - guest\n"
        "movl $0x6000, %eax; movl %eax, %cr3\n"
        "movl %cr0, %eax; orl $0x80000001, %eax; movl %eax, %cr0\n"
        "ljmpl $8, $0x1000 + protected - guest\n"
        ".code32\n"
        "protected: movw $16, %ax; movw %ax, %ds; movw %ax, %es; movw %ax, %ss; movl $0x4000, %esp\n"
        "movl $0x400000, %esi; movl $6, %ecx; movw $0x10, %dx; rep outsb\n"
        "std; movl $0x400013, %edi; movl $4, %ecx; rep insb; cld\n"
        "outsl; movb $0x21, %al; outb %al, $0x11\n"
        "movl $0x11223344, 0x401004; movl 0x401008, %ebx\n"
        "pushl %ebx; popl %ecx\n"
        "last: hlt\n"
        ".balign 8\n"
        "gdt: .quad 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF\n"
        "table: .word table - gdt - 1; .long 0x1000 + gdt - guest\n"
        "guest_end:\n"
        ".code64\n"
        ".popsection");

static void map_pages(void) {
    uint32_t *directory = (uint32_t *)(memory + DIRECTORY), *low = (uint32_t *)(memory + LOW);
    uint32_t *high = (uint32_t *)(memory + HIGH);
    directory[0] = LOW | 3;
    directory[1] = HIGH | 3;
    for (uint32_t page = 0; page < 16; page++) low[page] = page << 12 | 3;
    high[0] = TEXT | 3;
    high[1] = 0xB8000 | 3;
}

static void debug(struct first_debug wanted) { CHECK(ioctl(kvm, FIRST_DEBUG_GUEST, &wanted) == 0); }

int main(void) {
    make_machine(0x10000);
    memcpy(memory + TEXT, "pagingLONG", 10);
    map_pages();
    uint64_t end = START + (last - guest);
    start_real(guest, guest_end - guest);
    for (;;) {
        switch (go()) {
        case EXIT_IO:
            if (run.io.string) move_string("wxyz");
            else printf("out %x: %c\n", run.io.port, (char)run.io.value);
            run.emulated = 1;
            break;
        case EXIT_MMIO:
            printf("mmio %s %llx %u", run.mmio.is_write ? "write" : "read", (unsigned long long)run.mmio.phys_addr, run.mmio.len);
            if (run.mmio.is_write) printf(": %02x%02x%02x%02x", run.mmio.data[3], run.mmio.data[2], run.mmio.data[1], run.mmio.data[0]);
            else {
                memcpy(run.mmio.data, "\x78\x56\x34\x12", 4);
                debug((struct first_debug){.enabled = 1, .singlestep = 1});
            }
            printf("\n");
            run.mmio_completed = 1;
            break;
        case EXIT_DEBUG: {
            struct first_regs regs = get_regs();
            printf("debug %lld bytes from the end, ebx %llx ecx %llx\n", (long long)(end - regs.rip),
                   (unsigned long long)regs.rbx, (unsigned long long)regs.rcx);
            if (regs.rip == end) debug((struct first_debug){0});
            else debug((struct first_debug){.enabled = 1, .breakpoints = {{0}, {.enabled = 1, .address = end}}});
            break;
        }
        case EXIT_HLT: {
            struct first_sregs now = {0};
            CHECK(ioctl(kvm, FIRST_GET_SREGS, &now) == 0);
            printf("halt: %.4s, cs %x db %u, cr0 %x\n", memory + TEXT + 0x10, now.cs.selector, now.cs.db, (unsigned)now.cr0 & 0x80000001);
            struct first_translation none = {.linear_address = 0x800000};
            CHECK(ioctl(kvm, FIRST_TRANSLATE, &none) == 0);
            printf("unmapped: valid %u\n", none.valid);
            return 0;
        }
        default: printf("exit %u\n", run.exit_reason); return 1;
        }
    }
}
// expect: out string 1 rep 1 down 0 count 6 at 400000: p a g i n g
// expect: in string 1 rep 1 down 1 count 4 at 400013: w x y z
// expect: out string 1 rep 0 down 0 count 1 at 400006: LONG
// expect: out 11: !
// expect: mmio write b8004 4: 11223344
// expect: mmio read b8008 4
// expect: debug 2 bytes from the end, ebx 12345678 ecx 0
// expect: debug 0 bytes from the end, ebx 12345678 ecx 12345678
// expect: halt: zyxw, cs 8 db 1, cr0 80000001
// expect: unmapped: valid 0
