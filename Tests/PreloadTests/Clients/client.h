// What every client here begins with. Written against <linux/kvm.h> alone: nothing of Martlet is known here.
#include "check.h"
#include <linux/kvm.h>

struct machine {
    int kvm, vm, cpu;
    size_t area;
    struct kvm_run *run;
    uint8_t *memory;
    size_t size;
};

// A machine with `size` bytes of memory at 0, without vCPUs.
__attribute__((unused)) static struct machine make_machine(size_t size) {
    begin();
    struct machine m = {.size = size, .cpu = -1};
    CHECK((m.kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC)) >= 0);
    CHECK(ioctl(m.kvm, KVM_GET_API_VERSION, 0) == 12);
    CHECK((m.vm = ioctl(m.kvm, KVM_CREATE_VM, 0)) >= 0);
    CHECK((m.area = ioctl(m.kvm, KVM_GET_VCPU_MMAP_SIZE, 0)) >= sizeof(struct kvm_run));
    m.memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(m.memory != MAP_FAILED);
    struct kvm_userspace_memory_region region = {
        .memory_size = size, .userspace_addr = (uintptr_t)m.memory};
    CHECK(ioctl(m.vm, KVM_SET_USER_MEMORY_REGION, &region) == 0);
    return m;
}

__attribute__((unused)) static struct kvm_run *map_area(struct machine *m, int cpu) {
    struct kvm_run *run = mmap(NULL, m->area, PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
    CHECK(run != MAP_FAILED);
    return run;
}

__attribute__((unused)) static void make_cpu(struct machine *m) {
    CHECK((m->cpu = ioctl(m->vm, KVM_CREATE_VCPU, 0)) >= 0);
    m->run = map_area(m, m->cpu);
}

// Code and where it begins, in real-address mode with every segment at 0.
__attribute__((unused)) static void start_real(struct machine *m, int cpu, const void *code, size_t size, uint16_t at) {
    memcpy(m->memory + at, code, size);
    struct kvm_sregs sregs;
    CHECK(ioctl(cpu, KVM_GET_SREGS, &sregs) == 0);
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    CHECK(ioctl(cpu, KVM_SET_SREGS, &sregs) == 0);
    struct kvm_regs regs = {.rip = at, .rsp = 0x4000, .rflags = 2};
    CHECK(ioctl(cpu, KVM_SET_REGS, &regs) == 0);
}

static struct kvm_segment flat(uint16_t selector, int type, int is_long) {
    return (struct kvm_segment){.selector = selector, .limit = 0xFFFFFFFF, .type = type, .present = 1, .s = 1,
                                .db = !is_long, .l = is_long, .g = 1};
}

// 32-bit protected mode without paging, or 64-bit mode with the first 2 MiB mapped one to one by tables at 1000H.
__attribute__((unused)) static void start_flat(struct machine *m, const void *code, size_t size, uint64_t at, int is_long) {
    memcpy(m->memory + at, code, size);
    struct kvm_sregs sregs;
    CHECK(ioctl(m->cpu, KVM_GET_SREGS, &sregs) == 0);
    sregs.cs = flat(8, 11, is_long);
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat(16, 3, 0);
    sregs.cr0 = 0x11;
    if (is_long) {
        uint64_t *tables = (uint64_t *)(m->memory + 0x1000);
        tables[0] = 0x2003;
        tables[512] = 0x3003;
        tables[1024] = 0x83;
        sregs.cr3 = 0x1000;
        sregs.cr4 = 0x20;
        sregs.efer = 0x500;
        sregs.cr0 = 0x80000011;
    }
    CHECK(ioctl(m->cpu, KVM_SET_SREGS, &sregs) == 0);
    struct kvm_regs regs = {.rip = at, .rsp = 0x8000, .rflags = 2};
    CHECK(ioctl(m->cpu, KVM_SET_REGS, &regs) == 0);
}

// Runs to the next exit; what a hypervisor's own emulator gives up on ends the client with status 77.
__attribute__((unused)) static uint32_t run(int cpu, struct kvm_run *area) {
    CHECK(ioctl(cpu, KVM_RUN, 0) == 0);
    if (area->exit_reason == KVM_EXIT_INTERNAL_ERROR) {
        fprintf(stderr, "internal error %u\n", area->internal.suberror);
        exit(77);
    }
    return area->exit_reason;
}

__attribute__((unused)) static void print_port(struct kvm_run *area) {
    CHECK(area->io.direction == KVM_EXIT_IO_OUT);
    const uint8_t *data = (uint8_t *)area + area->io.data_offset;
    printf("out %x %u*%u:", area->io.port, area->io.size, area->io.count);
    for (unsigned i = 0; i < area->io.size * area->io.count; i++) printf(" %02x", data[i]);
    printf("\n");
}

// A guest that writes to port 10h, which rings the eventfd and is no exit, and to port 11h.
__attribute__((unused)) static void ring(struct machine *m, int bell) {
    struct kvm_ioeventfd ioeventfd = {.fd = bell, .addr = 0x10, .len = 1, .flags = KVM_IOEVENTFD_FLAG_PIO};
    CHECK(ioctl(m->vm, KVM_IOEVENTFD, &ioeventfd) == 0);
    static const uint8_t code[] = {0xE6, 0x10, 0xE6, 0x11};  // out 10h, al; out 11h, al
    start_real(m, m->cpu, code, sizeof code, 0x1000);
    CHECK(run(m->cpu, m->run) == KVM_EXIT_IO);
    uint64_t rung = 0;
    CHECK(read(bell, &rung, sizeof rung) == sizeof rung);
    printf("port %x, rung %d\n", m->run->io.port, (int)rung);
}
