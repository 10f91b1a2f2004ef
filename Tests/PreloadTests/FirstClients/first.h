// The interface of October 2006, from its layouts alone: one descriptor that is a machine, whose memory the hypervisor makes
// and the client maps through the descriptor.
#include "../Clients/check.h"

struct first_run {
    uint32_t vcpu, emulated, mmio_completed;                 // in
    uint32_t exit_type, exit_reason, instruction_length;     // out
    union {
        struct { uint32_t hardware_exit_reason; } hw;
        struct { uint32_t exception, error_code; } ex;
        struct {
            uint8_t direction, size, string, string_down, rep, pad;
            uint16_t port;
            uint64_t count;
            union { uint64_t address; uint32_t value; };
        } io;
        struct { uint64_t phys_addr; uint8_t data[8]; uint32_t len; uint8_t is_write; } mmio;
    };
};
_Static_assert(sizeof(struct first_run) == 48, "48 bytes");

struct first_regs {
    uint32_t vcpu, padding;
    uint64_t rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags;
};
struct first_segment {
    uint64_t base;
    uint32_t limit;
    uint16_t selector;
    uint8_t type, present, dpl, db, s, l, g, avl, unusable, padding;
};
struct first_table { uint64_t base; uint16_t limit, padding[3]; };
struct first_sregs {
    uint32_t vcpu, padding;
    struct first_segment cs, ds, es, fs, gs, ss, tr, ldt;
    struct first_table gdt, idt;
    uint64_t cr0, cr2, cr3, cr4, cr8, efer, apic_base;
    uint32_t pending_int, padding2;
};
struct first_debug {
    uint32_t vcpu, enabled;
    struct { uint32_t enabled, padding; uint64_t address; } breakpoints[4];
    uint32_t singlestep;
};
struct first_region { uint32_t slot, flags; uint64_t guest_phys_addr, memory_size; };
struct first_translation { uint64_t linear_address; uint32_t vcpu, padding; uint64_t physical_address; uint8_t valid, writeable, usermode; };
struct first_log { uint32_t slot, padding; void *bitmap; };

#define FIRST_RUN _IOWR(0xAE, 2, struct first_run)
#define FIRST_GET_REGS _IOWR(0xAE, 3, struct first_regs)
#define FIRST_SET_REGS _IOW(0xAE, 4, struct first_regs)
#define FIRST_GET_SREGS _IOWR(0xAE, 5, struct first_sregs)
#define FIRST_SET_SREGS _IOW(0xAE, 6, struct first_sregs)
#define FIRST_TRANSLATE _IOWR(0xAE, 7, struct first_translation)
#define FIRST_DEBUG_GUEST _IOW(0xAE, 9, struct first_debug)
#define FIRST_SET_MEMORY_REGION _IOW(0xAE, 10, struct first_region)
#define FIRST_CREATE_VCPU _IOW(0xAE, 11, int)
#define FIRST_GET_DIRTY_LOG _IOW(0xAE, 12, struct first_log)
enum { EXIT_UNKNOWN, EXIT_EXCEPTION, EXIT_IO, EXIT_CPUID, EXIT_DEBUG, EXIT_HLT, EXIT_MMIO };

static int kvm;
static uint8_t *memory;
static struct first_run run;

__attribute__((unused)) static void make_machine(size_t size) {
    begin();
    CHECK((kvm = open("/dev/kvm", O_RDWR)) >= 0);
    struct first_region region = {.flags = 1, .memory_size = size};
    CHECK(ioctl(kvm, FIRST_SET_MEMORY_REGION, &region) == 0);
    CHECK((memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, kvm, 0)) != MAP_FAILED);
    CHECK(ioctl(kvm, FIRST_CREATE_VCPU, 0) == 0);
    memset(&run, 0, sizeof run);
}

static struct first_regs get_regs(void) {
    struct first_regs regs = {0};
    CHECK(ioctl(kvm, FIRST_GET_REGS, &regs) == 0);
    return regs;
}

static void set_regs(struct first_regs regs) { CHECK(ioctl(kvm, FIRST_SET_REGS, &regs) == 0); }

// Code at 1000H, in real-address mode with CS at 0.
__attribute__((unused)) static void start_real(const void *code, size_t size) {
    memcpy(memory + 0x1000, code, size);
    struct first_sregs sregs = {0};
    CHECK(ioctl(kvm, FIRST_GET_SREGS, &sregs) == 0);
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    CHECK(ioctl(kvm, FIRST_SET_SREGS, &sregs) == 0);
    set_regs((struct first_regs){.rip = 0x1000, .rsp = 0x4000, .rflags = 2});
}

// Runs to the next exit; then neither is set.
__attribute__((unused)) static uint32_t go(void) {
    CHECK(ioctl(kvm, FIRST_RUN, &run) == 0);
    CHECK(run.exit_type == 2);
    run.emulated = run.mmio_completed = 0;
    return run.exit_reason;
}

// CPUID as the client's own processor has it, as the first clients answered it.
__attribute__((unused)) static void answer_cpuid(void) {
    struct first_regs regs = get_regs();
    uint32_t a = regs.rax, b, c = regs.rcx, d;
    __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    regs.rax = a, regs.rbx = b, regs.rcx = c, regs.rdx = d;
    set_regs(regs);
    run.emulated = 1;
}

// The client's memory at a linear address of the guest's.
__attribute__((unused)) static uint8_t *at_linear(uint64_t address) {
    struct first_translation translation = {.linear_address = address};
    CHECK(ioctl(kvm, FIRST_TRANSLATE, &translation) == 0);
    CHECK(translation.valid);
    return memory + translation.physical_address;
}

// The client moves a string's bytes itself, and the registers with them. No string here leaves its page.
__attribute__((unused)) static void move_string(const char *input) {
    struct first_regs regs = get_regs();
    printf("%s string %u rep %u down %u count %llu at %llx:", run.io.direction ? "out" : "in", run.io.string, run.io.rep,
           run.io.string_down, (unsigned long long)run.io.count, (unsigned long long)run.io.address);
    int step = run.io.string_down ? -run.io.size : run.io.size;
    uint8_t *place = at_linear(run.io.address);
    for (uint64_t i = 0; i < run.io.count; i++, place += step) {
        if (!run.io.direction) memcpy(place, input + i * run.io.size, run.io.size);
        printf(" %.*s", run.io.size, place);
    }
    printf("\n");
    if (run.io.direction) regs.rsi += step * (int)run.io.count;
    else regs.rdi += step * (int)run.io.count;
    if (run.io.rep) regs.rcx = 0;
    set_regs(regs);
    run.emulated = 1;
}
