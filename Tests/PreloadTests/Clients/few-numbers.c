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
    ring(&m, eventfd(0, EFD_CLOEXEC));
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
