// A hypervisor takes none of its client's descriptors: what is opened gets the lowest number that is free.
#include "client.h"
#include <sys/eventfd.h>

enum { COUNT = 12 };

static int free_numbers[COUNT];

static void print(const char *name, int descriptor) {
    for (int i = 0; i < COUNT; i++)
        if (free_numbers[i] == descriptor) printf("%s %d\n", name, i);
}

int main(void) {
    for (int i = 0; i < COUNT; i++) CHECK((free_numbers[i] = dup(0)) >= 0);
    for (int i = 0; i < COUNT; i++) CHECK(close(free_numbers[i]) == 0);
    struct machine m = make_machine(0x10000);
    print("device", m.kvm);
    print("machine", m.vm);
    CHECK(ioctl(m.vm, KVM_CREATE_IRQCHIP, 0) == 0);
    struct kvm_pit_config timer = {0};
    CHECK(ioctl(m.vm, KVM_CREATE_PIT2, &timer) == 0);
    make_cpu(&m);
    print("processor", m.cpu);
    int line = eventfd(0, EFD_CLOEXEC), bell = eventfd(0, EFD_CLOEXEC);
    struct kvm_irqfd irqfd = {.fd = line, .gsi = 5};
    CHECK(ioctl(m.vm, KVM_IRQFD, &irqfd) == 0);
    ring(&m, bell);
    print("behind them", dup(0));
    return 0;
}
// expect: device 0
// expect: machine 1
// expect: processor 2
// expect: port 11, rung 1
// expect: behind them 5
