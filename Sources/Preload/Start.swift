// What is done before the client's first instruction.

internal import Glibc

/// In the table of functions that the loader calls once this library is there.
@section(".init_array") @used
let start: @convention(c) () -> Void = {
    _ = next
    _ = HandleTable.shared
    _ = ThreadSignals.ifPresent
    ClientSignals.shared.removeRuntimesHandlers()
    Process.watchForks()
    _ = Settings.shared
    _ = Conversation.shared
}
