// ioeventfd and irqfd, waited for by poll: a guest that rings a doorbell and is interrupted in answer.
#include "client.h"
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>

static struct machine m;

static void *run_guest(void *unused) {
    (void)unused;
    CHECK(run(m.cpu, m.run) == KVM_EXIT_IO);
    print_port(m.run);
    return NULL;
}

int main(void) {
    m = make_machine(0x10000);
    CHECK(ioctl(m.vm, KVM_SET_TSS_ADDR, 0xFFFBD000) == 0);
    CHECK(ioctl(m.vm, KVM_CREATE_IRQCHIP, 0) == 0);
    make_cpu(&m);
    static const uint8_t handler[] = {0xB8, 0x34, 0x12, 0xE7, 0x80, 0xF4};  // mov ax, 1234h; out 80h, ax; hlt
    static const uint8_t code[] = {
        0xB0, 0x11, 0xE6, 0x20, 0xB0, 0x20, 0xE6, 0x21,  // 8259: vectors from 20h
        0xB0, 0x04, 0xE6, 0x21, 0xB0, 0x01, 0xE6, 0x21,
        0xB0, 0xDF, 0xE6, 0x21,                          // all but line 5 masked
        0xB8, 0x77, 0x00, 0xE7, 0x90,                    // mov ax, 77h; out 90h, ax: the doorbell
        0xFB, 0xF4, 0xEB, 0xFD,                          // sti; next: hlt; jmp next
    };
    memcpy(m.memory + 0x2000, handler, sizeof handler);
    *(uint32_t *)(m.memory + 0x25 * 4) = 0x2000;
    start_real(&m, m.cpu, code, sizeof code, 0x1000);
    int doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), line = eventfd(0, EFD_CLOEXEC);
    struct kvm_ioeventfd io = {.addr = 0x90, .len = 2, .fd = doorbell, .datamatch = 0x77,
                               .flags = KVM_IOEVENTFD_FLAG_PIO | KVM_IOEVENTFD_FLAG_DATAMATCH};
    CHECK(ioctl(m.vm, KVM_IOEVENTFD, &io) == 0);
    struct kvm_irqfd irq = {.fd = line, .gsi = 5};
    CHECK(ioctl(m.vm, KVM_IRQFD, &irq) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, run_guest, NULL) == 0);
    struct pollfd waits = {.fd = doorbell, .events = POLLIN};
    CHECK(poll(&waits, 1, -1) == 1 && waits.revents == POLLIN);
    uint64_t count;
    CHECK(read(doorbell, &count, 8) == 8);
    printf("rung %llu\n", (unsigned long long)count);
    count = 1;
    CHECK(write(line, &count, 8) == 8);
    CHECK(pthread_join(thread, NULL) == 0);
    io.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
    CHECK(ioctl(m.vm, KVM_IOEVENTFD, &io) == 0);
    CHECK(ioctl(m.vm, KVM_IOEVENTFD, &io) == -1 && errno == ENOENT);
    irq.flags = KVM_IRQFD_FLAG_DEASSIGN;
    CHECK(ioctl(m.vm, KVM_IRQFD, &irq) == 0);
    printf("done\n");
    return 0;
}
// expect: rung 1
// expect: out 80 2*1: 34 12
// expect: done
