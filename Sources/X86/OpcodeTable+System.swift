extension OpcodeTable {
    /// Rows of system instructions, port access and state images. The notation is explained at `OpcodeTable`.
    static let textSystem: StaticString = """
        @ system
        E4                         | in          | AL,Ib         | iopl
        E5                         | in          | zAX,Ib        | iopl
        EC                         | in          | AL,DX         | iopl
        ED                         | in          | zAX,DX        | iopl
        E6                         | out         | :Ib,AL        | iopl
        E7                         | out         | :Ib,zAX       | iopl
        EE                         | out         | :DX,AL        | iopl
        EF                         | out         | :DX,zAX       | iopl
        FA                         | cli         |               | w=i iopl
        FB                         | sti         |               | w=i end iopl
        F4                         | hlt         |               | cpl0 end
        63 /r                      | arpl        | !Ew,Gw        | i64 prot w=z
        0F 00 /0                   | sldt        | Ev/w          | prot cr4
        0F 00 /1                   | str         | Ev/w          | prot cr4
        0F 00 /2                   | lldt        | :Ew           | prot cpl0 end mem
        0F 00 /3                   | ltr         | :Ew           | prot cpl0 end mem
        0F 00 /4                   | verr        | :Ew           | prot w=z mem
        0F 00 /5                   | verw        | :Ew           | prot w=z mem
        0F 01 /0 mem               | sgdt        | Ms            | cr4
        0F 01 /1 mem               | sidt        | Ms            | cr4
        0F 01 /2 mem               | lgdt        | :Ms           | cpl0 end
        0F 01 /3 mem               | lidt        | :Ms           | cpl0 end
        0F 01 /4                   | smsw        | Ev/w          | cr4
        0F 01 /6                   | lmsw        | :Ew           | cpl0 end
        0F 01 /7 mem               | invlpg      | :M            | cpl0 end
        NP 0F 01 :C1               | vmcall      |               | end
        NP 0F 01 :D9               | vmmcall     |               | end
        NP 0F 01 :C8               | monitor     |               | cpl0ud
        NP 0F 01 :C9               | mwait       |               | cpl0ud end
        NP 0F 01 :CA               | clac        |               | smap cpl0ud
        NP 0F 01 :CB               | stac        |               | smap cpl0ud
        NP 0F 01 :D0               | xgetbv      |               | xsave
        NP 0F 01 :D1               | xsetbv      |               | xsave cpl0 end
        NP 0F 01 :EE               | rdpkru      |               | pku
        NP 0F 01 :EF               | wrpkru      |               | pku end
        0F 01 :F8                  | swapgs      |               | o64 cpl0
        0F 01 :F9                  | rdtscp      |               | rdtscp cr4
        0F 02 /r                   | lar         | !Gv,Ew        | prot w=z mem
        0F 03 /r                   | lsl         | !Gv,Ew        | prot w=z mem
        0F 05                      | syscall     |               | br syscall v=syscallCompat
        0F 07                      | sysret      |               | br syscall cpl0 v=syscallCompat
        0F 34                      | sysenter    |               | br sep v=sysenterLong
        0F 35                      | sysexit     |               | br sep cpl0 v=sysenterLong
        0F 06                      | clts        |               | cpl0 end
        0F 08                      | invd        |               | cpl0 end
        0F 09                      | wbinvd      |               | cpl0 end
        0F 20 /r                   | movCR       | Rn,Cn         | cpl0 u=oszapc
        0F 21 /r                   | movDR       | Rn,Dn         | cpl0 u=oszapc
        0F 22 /r                   | movCR       | Cn,Rn         | cpl0 u=oszapc end
        0F 23 /r                   | movDR       | Dn,Rn         | cpl0 u=oszapc end
        0F 30                      | wrmsr       |               | msr cpl0 end
        0F 31                      | rdtsc       |               | tsc cr4
        0F 32                      | rdmsr       |               | msr cpl0
        0F 33                      | rdpmc       |               | cr4
        0F A2                      | cpuid       |               | end
        0F AA                      | rsm         |               | br w=oszapctidnv
        NFx 0F C7 /6 reg           | rdrand      | Rv            | rdrand w=oszapc
        NFx 0F C7 /7 reg           | rdseed      | Rv            | rdseed w=oszapc
        F3 0F C7 /7 reg            | rdpid       | Rn            | rdpid
        66 0F 38 82 /r mem         | invpcid     | :Gn,Mdq       | invpcid cpl0 end
        F3 0F AE /0 reg            | rdfsbase    | Ry            | fsgsbase o64
        F3 0F AE /1 reg            | rdgsbase    | Ry            | fsgsbase o64
        F3 0F AE /2 reg            | wrfsbase    | :Ry           | fsgsbase o64
        F3 0F AE /3 reg            | wrgsbase    | :Ry           | fsgsbase o64
        # state images and caches
        NP 0F AE /0 mem            | fxsave      | Mfx           | fxsr mem
        NP 0F AE /1 mem            | fxrstor     | :Mfx          | fxsr mem
        NP 0F AE /2 mem            | ldmxcsr     | :Md           | sse x5
        NP 0F AE /3 mem            | stmxcsr     | Md            | sse x5
        NP 0F AE /4 mem            | xsave       | Mxs           | xsave mem
        NP 0F AE /5 mem            | xrstor      | :Mxs          | xsave mem
        NP 0F AE /6 mem            | xsaveopt    | Mxs           | xsaveopt mem
        NP 0F AE /7 mem            | clflush     | :M            | clflush mem
        66 0F AE /6 mem            | clwb        | :M            | clwb mem
        66 0F AE /7 mem            | clflushopt  | :M            | clflushopt mem
        NP 0F AE /5 reg            | lfence      |               | sse2
        NP 0F AE /6 reg            | mfence      |               | sse2
        NP 0F AE /7 reg            | sfence      |               | sse
        NP 0F C7 /3 mem            | xrstors     | :Mxs          | xsaves cpl0 mem
        NP 0F C7 /4 mem            | xsavec      | Mxs           | xsavec mem
        NP 0F C7 /5 mem            | xsaves      | Mxs           | xsaves cpl0 mem
        """
}
