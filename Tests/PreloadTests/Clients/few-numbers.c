// A process that may have few descriptors has its machine all the same.
#include "client.h"
#include <sys/eventfd.h>
#include <sys/resource.h>

int main(void) {
    struct rlimit few = {256, 256};
    CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
    struct machine m = make_machine(0x10000);
    CHECK(ioctl(m.vm, KVM_CREATE_IRQCHIP, 0) == 0);
    make_cpu(&m);
    int bell = eventfd(0, EFD_CLOEXEC);
    struct kvm_ioeventfd ioeventfd = {.fd = bell, .addr = 0x10, .len = 1, .flags = KVM_IOEVENTFD_FLAG_PIO};
    CHECK(ioctl(m.vm, KVM_IOEVENTFD, &ioeventfd) == 0);
    static const uint8_t code[] = {0xE6, 0x10, 0xE6, 0x11};  // out 10h, al; out 11h, al
    start_real(&m, m.cpu, code, sizeof code, 0x1000);
    CHECK(run(m.cpu, m.run) == KVM_EXIT_IO);
    uint64_t rung = 0;
    CHECK(read(bell, &rung, sizeof rung) == sizeof rung);
    printf("port %x, rung %d\n", m.run->io.port, (int)rung);
    // Until there is none left: what can't be made is refused.
    int made = 0;
    while (eventfd(0, EFD_CLOEXEC) >= 0) made++;
    CHECK(errno == EMFILE && made > 100);
    CHECK(ioctl(m.kvm, KVM_CREATE_VM, 0) == -1 && errno == EMFILE);
    CHECK(ioctl(m.vm, KVM_CREATE_VCPU, 1) == -1 && errno == EMFILE);
    printf("refused\n");
    return 0;
}
// expect: port 11, rung 1
// expect: refused
