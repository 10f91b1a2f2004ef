// Chipset
