"""Getting QEMU and the guest, launching them with the card attached, bringing results back."""
