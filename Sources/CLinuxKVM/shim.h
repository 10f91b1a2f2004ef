#include <linux/kvm.h>
#include <linux/kvm_para.h>
#include <sys/eventfd.h>
