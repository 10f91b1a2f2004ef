// Guest debugging: single steps, a software breakpoint, a hardware breakpoint.
#include "client.h"

static void print_debug(struct machine *m) {
    CHECK(run(m->cpu, m->run) == KVM_EXIT_DEBUG);
    printf("exception %u pc %llx\n", m->run->debug.arch.exception, (unsigned long long)m->run->debug.arch.pc);
}

int main(void) {
    struct machine m = make_machine(0x200000);
    make_cpu(&m);
    static const uint8_t code[] = {
        0x90,                                      // nop
        0xB8, 0x01, 0x00, 0x00, 0x00,              // mov eax, 1
        0x40,                                      // inc eax
        0xCC,                                      // int3
        0x90,                                      // nop
        0x40,                                      // inc eax
        0xF4,                                      // hlt
    };
    start_flat(&m, code, sizeof code, 0x10000, 0);
    struct kvm_guest_debug debug = {.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP};
    CHECK(ioctl(m.cpu, KVM_SET_GUEST_DEBUG, &debug) == 0);
    print_debug(&m);
    print_debug(&m);
    debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP | KVM_GUESTDBG_USE_HW_BP;
    debug.arch.debugreg[0] = 0x10009;
    debug.arch.debugreg[7] = 0x402;
    CHECK(ioctl(m.cpu, KVM_SET_GUEST_DEBUG, &debug) == 0);
    print_debug(&m);
    struct kvm_regs regs;
    CHECK(ioctl(m.cpu, KVM_GET_REGS, &regs) == 0);
    regs.rip = 0x10008;
    CHECK(ioctl(m.cpu, KVM_SET_REGS, &regs) == 0);
    print_debug(&m);
    debug = (struct kvm_guest_debug){0};
    CHECK(ioctl(m.cpu, KVM_SET_GUEST_DEBUG, &debug) == 0);
    CHECK(run(m.cpu, m.run) == KVM_EXIT_HLT);
    printf("halt\n");
    return 0;
}
// expect: exception 1 pc 10001
// expect: exception 1 pc 10006
// expect: exception 3 pc 10007
// expect: exception 1 pc 10009
// expect: halt
