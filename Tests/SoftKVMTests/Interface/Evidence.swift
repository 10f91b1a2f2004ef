// Which test shows what of the interface: a row for each exit, capability and request that is offered and shown.

import Foundation
import KVMABI

enum Evidence {
    /// What shows an exit: what brings it about.
    static func of(_ exit: ExitReason) -> String? {
        switch ExitWalk.ways[exit] {
        case .scenario: "ExitWalkTests/anExitComesToWhoAskedForIt"
        case .test(let name): name
        case .notGiven, nil: nil
        }
    }

    /// What shows a capability: a row of its own, else the walk over those that can be enabled.
    static func of(_ capability: Capability) -> String? {
        capabilities[String(capability.name.dropFirst(8))]
            ?? (CapabilityEffect.all[capability] == nil ? nil : "CapabilityWalkTests/aCapabilityChangesWhatItIsFor")
    }

    /// What shows a request on a handle: a row for the handle, else that of the request.
    static func of(_ place: Request.Place) -> String? {
        let name = place.request.name.dropFirst(4)
        return requests["\(name)@\(place.handle.rawValue)"] ?? requests[String(name)]
    }

    /// Every test that a row names.
    static var tests: Set<String> {
        Set(ExitReason.names.compactMap { of(ExitReason(rawValue: $0.number)) })
            .union(Capability.all.compactMap { of($0) }).union(Request.places.compactMap { of($0) })
            .union(capabilities.values).union(requests.values)
    }

    /// Rows that name nothing of the interface.
    static var strayRows: [String] {
        let capabilityNames = Set(Capability.all.map { String($0.name.dropFirst(8)) })
        let requestNames = Set(
            Request.places.flatMap { place in
                let name = place.request.name.dropFirst(4)
                return [String(name), "\(name)@\(place.handle.rawValue)"]
            })
        return capabilities.keys.filter { !capabilityNames.contains($0) }
            + requests.keys.filter { !requestNames.contains($0) }
    }

    /// Each test's name comes before what it shows.
    private static func parse(_ text: String) -> [String: String] {
        var rows: [String: String] = [:]
        var test = ""
        for word in text.split(whereSeparator: { $0 == " " || $0 == "\n" }).map(String.init) {
            if word.contains("Tests/") { test = word } else { rows[word] = test }
        }
        return rows
    }

    private static let capabilities = parse(
        """
        ExtensionTests/whatIsNotInTheTableReadsZero CHECK_EXTENSION_VM
        ExtensionTests/whatBothOfferReadsAsOnTheKernel NR_VCPUS MAX_VCPUS NOP_IO_DELAY SYSTEM_EVENT_DATA
        ExtensionTests/nothingButTheTableCanBeEnabled ENABLE_CAP ENABLE_CAP_VM
        KickTests/aKickFromAnotherThreadEndsAnEndlessLoop IMMEDIATE_EXIT
        OptInTests/registersAreSynchronisedInTheRunArea SYNC_REGS
        EndpointVirtualCPUTests/creation MAX_VCPU_ID
        IntegerArgumentTests/everyBitCounts MMU_SHADOW_CACHE_CONTROL
        EndpointDeviceTests/controllers DEVICE_CTRL
        EndpointVirtualCPUTests/timeStampCounter VCPU_ATTRIBUTES TSC_CONTROL GET_TSC_KHZ
        RarerRequestTests/theSystemHandleDescribesTheProcessor SYS_ATTRIBUTES EXT_EMUL_CPUID GET_MSR_FEATURES
        StateTests/slotsAreChecked USER_MEMORY JOIN_MEMORY_REGIONS_WORKS
        EndpointMemoryTests/secondForm USER_MEMORY2
        EndpointMemoryTests/slotsAreChecked NR_MEMSLOTS
        MemorySlotTests/aReadOnlySlotIsReadAndItsWritesAreExits READONLY_MEM
        MissingMemoryTests/slotMemoryWhoseFileIsTruncatedIsEFAULT SYNC_MMU
        MemorySlotTests/aSlotThatIsRemovedWhileTheGuestReadsItBecomesMMIO DESTROY_MEMORY_REGION_WORKS
        ExitWalkTests/memoryThatGoesIsAnExitBesideEFAULT MEMORY_FAULT_INFO
        EndpointDeviceTests/controllersBeforeVCPUs SET_TSS_ADDR
        BadArgumentTests/theIdentityMapIsTooLateOnceThereIsACPU SET_IDENTITY_MAP_ADDR
        OptInTests/writesAreCoalesced COALESCED_MMIO COALESCED_PIO
        DirtyLogTests/theManualDirtyLogIsClearedByPage MANUAL_DIRTY_LOG_PROTECT2
        OptInTests/linesMessagesAndEventDescriptorsInterruptAHaltedProcessor IRQCHIP IRQ_ROUTING SIGNAL_MSI IRQFD
        RarerRequestTests/theTimerInItsOlderForms PIT REINJECT_CONTROL
        StateTests/interruptControllersAndTimersComeBack PIT2 PIT_STATE2 IRQ_INJECT_STATUS
        RarerRequestTests/theBootProcessorIsWhichTheClientSays SET_BOOT_CPU_ID
        OptInTests/writesSignalEventDescriptors IOEVENTFD IOEVENTFD_ANY_LENGTH
        RarerRequestTests/aWriteOfAnyLengthSignals IOEVENTFD_NO_LENGTH
        RarerRequestTests/theEndOfALevelInterruptSignals IRQFD_RESAMPLE
        OptInTests/theSplitControllersTellOfTheEndOfALevelInterrupt SPLIT_IRQCHIP
        TaskPriorityTests/accessesAreExitsOnceAskedFor VAPIC
        GuestTests/guestFollowsItsScript USER_NMI
        EndpointVirtualCPUTests/cpuid EXT_CPUID
        EndpointVirtualCPUTests/stateOfExecution MP_STATE
        EndpointVirtualCPUTests/events VCPU_EVENTS EXCEPTION_PAYLOAD
        EndpointVirtualCPUTests/floatingPoint XSAVE XSAVE2
        EndpointVirtualCPUTests/controlAndDebugRegisters XCRS DEBUGREGS
        EndpointVirtualCPUTests/specialRegisters SREGS2
        GuestDebugOracleTests/steps SET_GUEST_DEBUG X86_ROBUST_SINGLESTEP
        GuestDebugOracleTests/watchpoints SET_GUEST_DEBUG2
        EndpointVirtualCPUTests/machineCheck MCE
        ExitWalkTests/anExitComesToWhoAskedForIt HLT EXIT_HYPERCALL
        OptInTests/codeInNoMemory INTERNAL_ERROR_DATA
        OptInTests/filteredMSRsAreExits X86_MSR_FILTER X86_USER_SPACE_MSR
        DeadlineTests/everyTimerFires TSC_DEADLINE_TIMER
        IOAPICTests/level IOAPIC_POLARITY_IGNORED
        EndpointDeviceTests/clock ADJUST_CLOCK
        RarerRequestTests/aGuestWithAClockIsToldThatItWasStopped CLOCKSOURCE KVMCLOCK_CTRL
        RarerRequestTests/theMachinesFrequencyIsItsVCPUs VM_TSC_CONTROL
        OptInTests/theDirtyRingTellsOfEachPageOnce DIRTY_LOG_RING DIRTY_LOG_RING_ACQ_REL
        StateTests/statisticsDescribeThemselves BINARY_STATS_FD
        """)

    private static let requests = parse(
        """
        EndpointSystemTests/versionAndSizes GET_API_VERSION CREATE_VM GET_VCPU_MMAP_SIZE
        EndpointSystemTests/msrLists GET_MSR_INDEX_LIST
        ExtensionTests/whatIsNotInTheTableReadsZero CHECK_EXTENSION
        EndpointSystemTests/supportedCPUID GET_SUPPORTED_CPUID
        RarerRequestTests/theSystemHandleDescribesTheProcessor GET_EMULATED_CPUID GET_MSR_FEATURE_INDEX_LIST
        GET_MSRS@system GET_DEVICE_ATTR@system HAS_DEVICE_ATTR@system
        EndpointVirtualCPUTests/creation CREATE_VCPU
        IntegerArgumentTests/everyBitCounts SET_NR_MMU_PAGES
        DirtyLogTests/theDirtyLogIsExact GET_DIRTY_LOG
        StateTests/slotsAreChecked SET_USER_MEMORY_REGION
        EndpointMemoryTests/secondForm SET_USER_MEMORY_REGION2
        EndpointDeviceTests/controllersBeforeVCPUs SET_TSS_ADDR
        BadArgumentTests/theIdentityMapIsTooLateOnceThereIsACPU SET_IDENTITY_MAP_ADDR
        DirtyLogTests/theManualDirtyLogIsClearedByPage CLEAR_DIRTY_LOG
        OptInTests/theDirtyRingTellsOfEachPageOnce RESET_DIRTY_RINGS
        OptInTests/linesMessagesAndEventDescriptorsInterruptAHaltedProcessor CREATE_IRQCHIP IRQ_LINE SET_GSI_ROUTING IRQFD
        SIGNAL_MSI
        StateTests/interruptControllersAndTimersComeBack GET_IRQCHIP SET_IRQCHIP IRQ_LINE_STATUS CREATE_PIT2 GET_PIT2 SET_PIT2
        GET_LAPIC SET_LAPIC
        RarerRequestTests/theTimerInItsOlderForms CREATE_PIT GET_PIT SET_PIT REINJECT_CONTROL
        OptInTests/writesAreCoalesced REGISTER_COALESCED_MMIO UNREGISTER_COALESCED_MMIO
        RarerRequestTests/theBootProcessorIsWhichTheClientSays SET_BOOT_CPU_ID
        OptInTests/writesSignalEventDescriptors IOEVENTFD
        EndpointDeviceTests/clock SET_CLOCK GET_CLOCK
        EndpointVirtualCPUTests/timeStampCounter SET_TSC_KHZ GET_TSC_KHZ SET_DEVICE_ATTR GET_DEVICE_ATTR HAS_DEVICE_ATTR
        RarerRequestTests/theMachinesFrequencyIsItsVCPUs SET_TSC_KHZ@VM GET_TSC_KHZ@VM
        OptInTests/filteredMSRsAreExits X86_SET_MSR_FILTER
        EndpointDeviceTests/controllers CREATE_DEVICE
        StateTests/statisticsDescribeThemselves GET_STATS_FD
        ExtensionTests/nothingButTheTableCanBeEnabled ENABLE_CAP
        GuestTests/guestFollowsItsScript RUN NMI INTERRUPT
        EndpointVirtualCPUTests/generalRegisters GET_REGS SET_REGS
        EndpointVirtualCPUTests/specialRegisters GET_SREGS SET_SREGS GET_SREGS2 SET_SREGS2
        EndpointVirtualCPUTests/translation TRANSLATE
        MSROracleTests/listsStopAtTheFirstRefusal GET_MSRS SET_MSRS
        RarerRequestTests/theFirstFormOfCPUID SET_CPUID
        EndpointVirtualCPUTests/cpuid SET_CPUID2 GET_CPUID2
        EndpointVirtualCPUTests/signalMask SET_SIGNAL_MASK
        EndpointVirtualCPUTests/floatingPoint GET_FPU SET_FPU GET_XSAVE SET_XSAVE GET_XSAVE2
        TaskPriorityTests/accessesAreExitsOnceAskedFor TPR_ACCESS_REPORTING
        TaskPriorityTests/theWordCountsUntilItIsTakenAway SET_VAPIC_ADDR
        EndpointVirtualCPUTests/stateOfExecution GET_MP_STATE SET_MP_STATE
        GuestDebugOracleTests/steps SET_GUEST_DEBUG
        EndpointVirtualCPUTests/machineCheck X86_SETUP_MCE X86_GET_MCE_CAP_SUPPORTED X86_SET_MCE
        EndpointVirtualCPUTests/events GET_VCPU_EVENTS SET_VCPU_EVENTS
        EndpointVirtualCPUTests/controlAndDebugRegisters GET_DEBUGREGS SET_DEBUGREGS GET_XCRS SET_XCRS
        RarerRequestTests/aGuestWithAClockIsToldThatItWasStopped KVMCLOCK_CTRL
        """)
}
