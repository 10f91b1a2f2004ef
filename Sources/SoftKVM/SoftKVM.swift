// SoftKVM
