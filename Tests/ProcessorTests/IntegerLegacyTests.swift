import Foundation
import TestLimits
import Testing
import X86

@testable import Processor

private let assembler = "/usr/bin/nasm"

/// The integer instructions in 16- and 32-bit code, by programs that check themselves: each check leaves its number in BX where
/// it fails. They are assembled by nasm, and skipped where there is none.
@Suite(
    .enabled(if: FileManager.default.isExecutableFile(atPath: assembler), "nasm is not installed"), .within(minutes: 20)
)
struct IntegerLegacyTests {
    @Test func realMode() throws {
        let machine = try SystemMachine.real(try assemble(IntegerLegacyTests.realModeSource))
        try machine.runToHalt()
        #expect(machine.state.registers[3] & 0xFFFF == 0, "check \(machine.state.registers[3] & 0xFFFF)")
    }

    /// Ends with a read that leaves the limit of FS: #GP.
    @Test func protectedMode() throws {
        let machine = try SystemMachine.protected(try assemble(IntegerLegacyTests.protectedModeSource))
        let vector = try? machine.runToVector()
        #expect(machine.state.registers[3] == 0, "check \(machine.state.registers[3])")
        #expect(vector == Exception.generalProtection.vector)
    }

    private func assemble(_ source: String) throws -> [UInt8] {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let input = folder.appendingPathComponent("program.nasm")
        let output = folder.appendingPathComponent("program.bin")
        try source.write(to: input, atomically: true, encoding: .utf8)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: assembler)
        process.arguments = ["-f", "bin", "-o", output.path, input.path]
        try process.run()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
        return [UInt8](try Data(contentsOf: output))
    }

    static let realModeSource = """
        bits 16
        %macro check 3 ; number, a, b
         mov bx, %1
         cmp %2, %3
         jne near fail
        %endmacro
         ; stack in 16 bits: wraps of SP stay in the low word
         mov eax, esp
         push word 0x1234
         push dword 0x89ABCDEF
         pop cx
         check 1, cx, 0xCDEF
         pop cx
         check 2, cx, 0x89AB
         pop cx
         check 3, cx, 0x1234
         check 4, esp, eax
         ; pusha, popa
         mov ax, 1
         mov di, 7
         pusha
         mov ax, 99
         mov di, 99
         popa
         check 5, ax, 1
         check 6, di, 7
         ; near calls, indirect too, ret imm
         push word 5
         call f
         check 7, ax, 6
         mov si, f
         push word 8
         call si
         check 8, ax, 9
         ; segments: es:di with wrap at 64 KiB of the 16-bit index
         mov dx, 0x3000
         mov es, dx
         mov ds, dx
         cld
         mov di, 0xFFFE
         mov ax, 0xA55A
         mov cx, 3
         rep stosw
         check 9, di, 4
         cmp word [es:0], 0xA55A
         mov bx, 10
         jne fail
         cmp word [es:0xFFFE], 0xA55A
         mov bx, 11
         jne fail
         ; 32-bit string with a 67 prefix
         mov esi, 0
         mov edi, 0x100
         mov ecx, 4
         a32 rep movsb
         check 12, edi, 0x104
         ; loop with CX only
         mov ecx, 0x10003
         xor ax, ax
        l: inc ax
         loop l
         check 13, ax, 3
         check 14, ecx, 0x10000
         ; lea, xlat with 16-bit wrap
         mov bx, 0xFFFF
         mov si, 2
         lea dx, [bx+si]
         check 15, dx, 1
         mov byte [2], 0x77
         mov bx, 0xFFFF
         mov al, 3
         xlatb
         check 16, al, 0x77
         ; enter and leave
         mov bp, 0x4444
         mov cx, sp
         enter 16, 1
         check 17, word [bp], 0x4444
         leave
         check 18, bp, 0x4444
         check 19, sp, cx
         ; bit strings
         mov word [0x40], 0
         mov ax, -1
         bts [0x42], ax
         check 20, word [0x40], 0x8000
         ; aam, aad, daa
         mov ax, 79
         aam
         check 21, ax, 0x0709
         aad
         check 22, ax, 79
         mov al, 0x79
         add al, 0x35
         daa
         check 23, al, 0x14
         ; salc
         stc
         db 0xD6
         check 24, al, 0xFF
         ; scasb
         mov di, 0x200
         mov byte [es:0x205], 9
         mov cx, 20
         mov al, 9
         repne scasb
         check 25, di, 0x206
         check 26, cx, 14
         mov bx, 0
         hlt
        fail: hlt
        f: push bp
         mov bp, sp
         mov ax, [bp+4]
         inc ax
         pop bp
         ret 2
        """

    static let protectedModeSource = """
        bits 32
        org 0x20000
        %macro check 3
         mov ebx, %1
         cmp %2, %3
         jne near fail
        %endmacro
         push dword 0x12345678
         push word 0x1111
         pop cx
         check 1, cx, 0x1111
         pop eax
         check 2, eax, 0x12345678
         pushad
         xor eax, eax
         popad
         check 3, eax, 0x12345678
         push eax
         call f
         check 4, eax, 0x12345679
         mov edx, f
         push eax
         call edx
         check 5, eax, 0x1234567A
         mov dword [0x30000], f
         push eax
         call [0x30000]
         check 6, eax, 0x1234567B
         ; FS with a base of its own: 0x40000, limit 0xFFF
         mov dword [0x1048], 0x00000FFF
         mov dword [0x104C], 0x00409304
         mov ecx, 0x48
         mov fs, cx
         mov dword [0x40010], 0x55AA
         check 7, dword [fs:0x10], 0x55AA
         ; 16-bit addressing in 32-bit code
         mov esi, 0x10
         mov dword [0x1234], 77
         mov ebx, 0xFFFF1224
         mov eax, [bx+si]
         check 8, eax, 77
         ; strings
         mov edi, 0x30FFD
         mov ecx, 100
         mov al, 0xCC
         rep stosb
         check 9, edi, 0x31061
         check 10, byte [0x31060], 0xCC
         mov esi, 0x30FFD
         mov edi, 0x32FF0
         mov ecx, 25
         rep movsd
         check 11, dword [0x33050], 0xCCCCCCCC
         ; the segment override of a string's source
         xor esi, esi
         mov edi, 0x34000
         mov dword [0x40000], 0x01020304
         fs movsd
         check 12, dword [0x34000], 0x01020304
         ; enter with nesting
         mov ebp, esp
         push dword 42
         mov edx, ebp
         enter 8, 2
         check 13, dword [ebp], edx
         leave
         check 14, ebp, edx
         pop eax
         check 15, eax, 42
         ; cmpxchg8b
         mov dword [0x35000], 1
         mov dword [0x35004], 2
         mov eax, 1
         mov edx, 2
         mov ecx, 4
         push ebx
         mov ebx, 3
         lock cmpxchg8b [0x35000]
         pop ebx
         mov ebx, 16
         jnz fail
         check 17, dword [0x35004], 4
         ; inc, dec keep CF
         stc
         inc eax
         mov ebx, 18
         jnc fail
         ; jecxz, loop with 16 bits of address
         mov ecx, 0x10000
         mov ebx, 19
         a16 jcxz .ok
         jmp fail
        .ok:
         ; the limit of FS
         mov ebx, 0
         mov eax, [fs:0xFFD]
         hlt
        fail: mov edx, 0xBAD
         hlt
        f: mov eax, [esp+4]
         inc eax
         ret 4
        """
}
