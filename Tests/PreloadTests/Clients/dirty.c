// The dirty log: which pages were written since it was read last.
#include "client.h"

static void print_log(struct machine *m) {
    uint64_t bits = 0;
    struct kvm_dirty_log log = {.slot = 0, .dirty_bitmap = &bits};
    CHECK(ioctl(m->vm, KVM_GET_DIRTY_LOG, &log) == 0);
    printf("dirty %llx\n", (unsigned long long)bits);
}

int main(void) {
    struct machine m = make_machine(0x10000);
    make_cpu(&m);
    static const uint8_t code[] = {
        0xC6, 0x06, 0x00, 0x50, 0x01,              // mov byte [5000h], 1
        0xC6, 0x06, 0xFF, 0x7F, 0x01,              // mov byte [7fffh], 1
        0xE6, 0x10,                                // out 10h, al
        0xC7, 0x06, 0xFF, 0x8F, 0x01, 0x01,        // mov word [8fffh], 101h, which crosses a page
        0xE6, 0x10,                                // out 10h, al
        0xF4,                                      // hlt
    };
    start_real(&m, m.cpu, code, sizeof code, 0x1000);
    struct kvm_userspace_memory_region region = {
        .flags = KVM_MEM_LOG_DIRTY_PAGES, .memory_size = m.size, .userspace_addr = (uintptr_t)m.memory};
    CHECK(ioctl(m.vm, KVM_SET_USER_MEMORY_REGION, &region) == 0);
    print_log(&m);
    CHECK(run(m.cpu, m.run) == KVM_EXIT_IO);
    print_log(&m);
    print_log(&m);
    CHECK(run(m.cpu, m.run) == KVM_EXIT_IO);
    print_log(&m);
    CHECK(run(m.cpu, m.run) == KVM_EXIT_HLT);
    print_log(&m);
    return 0;
}
// expect: dirty 0
// expect: dirty a0
// expect: dirty 0
// expect: dirty 300
// expect: dirty 0
