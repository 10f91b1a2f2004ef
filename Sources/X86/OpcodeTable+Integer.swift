extension OpcodeTable {
    /// Rows of general-purpose instructions, BMI among them. The notation is explained at `OpcodeTable`.
    static let textInteger: StaticString = """
        @ integer
        # arithmetic
        00 /r                      | add         | !Eb,Gb        | w=oszapc lock
        01 /r                      | add         | !Ev,Gv        | w=oszapc lock
        02 /r                      | add         | !Gb,Eb        | w=oszapc
        03 /r                      | add         | !Gv,Ev        | w=oszapc
        04                         | add         | !AL,Ib        | w=oszapc
        05                         | add         | !vAX,Iz       | w=oszapc
        08 /r                      | or          | !Eb,Gb        | w=oszpc u=a lock
        09 /r                      | or          | !Ev,Gv        | w=oszpc u=a lock
        0A /r                      | or          | !Gb,Eb        | w=oszpc u=a
        0B /r                      | or          | !Gv,Ev        | w=oszpc u=a
        0C                         | or          | !AL,Ib        | w=oszpc u=a
        0D                         | or          | !vAX,Iz       | w=oszpc u=a
        10 /r                      | adc         | !Eb,Gb        | w=oszapc r=c lock
        11 /r                      | adc         | !Ev,Gv        | w=oszapc r=c lock
        12 /r                      | adc         | !Gb,Eb        | w=oszapc r=c
        13 /r                      | adc         | !Gv,Ev        | w=oszapc r=c
        14                         | adc         | !AL,Ib        | w=oszapc r=c
        15                         | adc         | !vAX,Iz       | w=oszapc r=c
        18 /r                      | sbb         | !Eb,Gb        | w=oszapc r=c lock
        19 /r                      | sbb         | !Ev,Gv        | w=oszapc r=c lock
        1A /r                      | sbb         | !Gb,Eb        | w=oszapc r=c
        1B /r                      | sbb         | !Gv,Ev        | w=oszapc r=c
        1C                         | sbb         | !AL,Ib        | w=oszapc r=c
        1D                         | sbb         | !vAX,Iz       | w=oszapc r=c
        20 /r                      | and         | !Eb,Gb        | w=oszpc u=a lock
        21 /r                      | and         | !Ev,Gv        | w=oszpc u=a lock
        22 /r                      | and         | !Gb,Eb        | w=oszpc u=a
        23 /r                      | and         | !Gv,Ev        | w=oszpc u=a
        24                         | and         | !AL,Ib        | w=oszpc u=a
        25                         | and         | !vAX,Iz       | w=oszpc u=a
        28 /r                      | sub         | !Eb,Gb        | w=oszapc lock
        29 /r                      | sub         | !Ev,Gv        | w=oszapc lock
        2A /r                      | sub         | !Gb,Eb        | w=oszapc
        2B /r                      | sub         | !Gv,Ev        | w=oszapc
        2C                         | sub         | !AL,Ib        | w=oszapc
        2D                         | sub         | !vAX,Iz       | w=oszapc
        30 /r                      | xor         | !Eb,Gb        | w=oszpc u=a lock
        31 /r                      | xor         | !Ev,Gv        | w=oszpc u=a lock
        32 /r                      | xor         | !Gb,Eb        | w=oszpc u=a
        33 /r                      | xor         | !Gv,Ev        | w=oszpc u=a
        34                         | xor         | !AL,Ib        | w=oszpc u=a
        35                         | xor         | !vAX,Iz       | w=oszpc u=a
        38 /r                      | cmp         | :Eb,Gb        | w=oszapc
        39 /r                      | cmp         | :Ev,Gv        | w=oszapc
        3A /r                      | cmp         | :Gb,Eb        | w=oszapc
        3B /r                      | cmp         | :Gv,Ev        | w=oszapc
        3C                         | cmp         | :AL,Ib        | w=oszapc
        3D                         | cmp         | :vAX,Iz       | w=oszapc
        80 /0                      | add         | !Eb,Ib        | w=oszapc lock
        81 /0                      | add         | !Ev,Iz        | w=oszapc lock
        82 /0                      | add         | !Eb,Ib        | w=oszapc lock i64
        83 /0                      | add         | !Ev,Is        | w=oszapc lock
        80 /1                      | or          | !Eb,Ib        | w=oszpc u=a lock
        81 /1                      | or          | !Ev,Iz        | w=oszpc u=a lock
        82 /1                      | or          | !Eb,Ib        | w=oszpc u=a lock i64
        83 /1                      | or          | !Ev,Is        | w=oszpc u=a lock
        80 /2                      | adc         | !Eb,Ib        | w=oszapc r=c lock
        81 /2                      | adc         | !Ev,Iz        | w=oszapc r=c lock
        82 /2                      | adc         | !Eb,Ib        | w=oszapc r=c lock i64
        83 /2                      | adc         | !Ev,Is        | w=oszapc r=c lock
        80 /3                      | sbb         | !Eb,Ib        | w=oszapc r=c lock
        81 /3                      | sbb         | !Ev,Iz        | w=oszapc r=c lock
        82 /3                      | sbb         | !Eb,Ib        | w=oszapc r=c lock i64
        83 /3                      | sbb         | !Ev,Is        | w=oszapc r=c lock
        80 /4                      | and         | !Eb,Ib        | w=oszpc u=a lock
        81 /4                      | and         | !Ev,Iz        | w=oszpc u=a lock
        82 /4                      | and         | !Eb,Ib        | w=oszpc u=a lock i64
        83 /4                      | and         | !Ev,Is        | w=oszpc u=a lock
        80 /5                      | sub         | !Eb,Ib        | w=oszapc lock
        81 /5                      | sub         | !Ev,Iz        | w=oszapc lock
        82 /5                      | sub         | !Eb,Ib        | w=oszapc lock i64
        83 /5                      | sub         | !Ev,Is        | w=oszapc lock
        80 /6                      | xor         | !Eb,Ib        | w=oszpc u=a lock
        81 /6                      | xor         | !Ev,Iz        | w=oszpc u=a lock
        82 /6                      | xor         | !Eb,Ib        | w=oszpc u=a lock i64
        83 /6                      | xor         | !Ev,Is        | w=oszpc u=a lock
        80 /7                      | cmp         | :Eb,Ib        | w=oszapc
        81 /7                      | cmp         | :Ev,Iz        | w=oszapc
        82 /7                      | cmp         | :Eb,Ib        | w=oszapc i64
        83 /7                      | cmp         | :Ev,Is        | w=oszapc
        27                         | daa         |               | i64 r=ac w=szapc u=o
        2F                         | das         |               | i64 r=ac w=szapc u=o
        37                         | aaa         |               | i64 r=ac w=ac u=oszp
        3F                         | aas         |               | i64 r=ac w=ac u=oszp
        D4                         | aam         | Ib            | i64 w=szp u=oac
        D5                         | aad         | Ib            | i64 w=szp u=oac
        40+r                       | inc         | !Zv           | i64 w=oszap
        48+r                       | dec         | !Zv           | i64 w=oszap
        FE /0                      | inc         | !Eb           | w=oszap lock
        FE /1                      | dec         | !Eb           | w=oszap lock
        FF /0                      | inc         | !Ev           | w=oszap lock
        FF /1                      | dec         | !Ev           | w=oszap lock
        F6 /0                      | test        | :Eb,Ib        | w=oszpc u=a
        F6 /1                      | test        | :Eb,Ib        | w=oszpc u=a
        F6 /2                      | not         | !Eb           | lock
        F6 /3                      | neg         | !Eb           | w=oszapc lock
        F6 /4                      | mul         | :Eb           | w=oc u=szap
        F6 /5                      | imul        | :Eb           | w=oc u=szap
        F6 /6                      | div         | :Eb           | u=oszapc
        F6 /7                      | idiv        | :Eb           | u=oszapc
        F7 /0                      | test        | :Ev,Iz        | w=oszpc u=a
        F7 /1                      | test        | :Ev,Iz        | w=oszpc u=a
        F7 /2                      | not         | !Ev           | lock
        F7 /3                      | neg         | !Ev           | w=oszapc lock
        F7 /4                      | mul         | :Ev           | w=oc u=szap
        F7 /5                      | imul        | :Ev           | w=oc u=szap
        F7 /6                      | div         | :Ev           | u=oszapc
        F7 /7                      | idiv        | :Ev           | u=oszapc
        69 /r                      | imul        | Gv,Ev,Iz      | w=oc u=szap
        6B /r                      | imul        | Gv,Ev,Is      | w=oc u=szap
        0F AF /r                   | imul        | !Gv,Ev        | w=oc u=szap
        84 /r                      | test        | :Eb,Gb        | w=oszpc u=a
        85 /r                      | test        | :Ev,Gv        | w=oszpc u=a
        A8                         | test        | :AL,Ib        | w=oszpc u=a
        A9                         | test        | :vAX,Iz       | w=oszpc u=a
        # shifts and rotations; /6 is an alias of /4
        C0 /0                      | rol         | !Eb,Ib        | w=oc may
        C0 /1                      | ror         | !Eb,Ib        | w=oc may
        C0 /2                      | rcl         | !Eb,Ib        | r=c w=oc may
        C0 /3                      | rcr         | !Eb,Ib        | r=c w=oc may
        C0 /4                      | shl         | !Eb,Ib        | w=oszpc u=a may
        C0 /5                      | shr         | !Eb,Ib        | w=oszpc u=a may
        C0 /6                      | shl         | !Eb,Ib        | w=oszpc u=a may
        C0 /7                      | sar         | !Eb,Ib        | w=oszpc u=a may
        C1 /0                      | rol         | !Ev,Ib        | w=oc may
        C1 /1                      | ror         | !Ev,Ib        | w=oc may
        C1 /2                      | rcl         | !Ev,Ib        | r=c w=oc may
        C1 /3                      | rcr         | !Ev,Ib        | r=c w=oc may
        C1 /4                      | shl         | !Ev,Ib        | w=oszpc u=a may
        C1 /5                      | shr         | !Ev,Ib        | w=oszpc u=a may
        C1 /6                      | shl         | !Ev,Ib        | w=oszpc u=a may
        C1 /7                      | sar         | !Ev,Ib        | w=oszpc u=a may
        D0 /0                      | rol         | !Eb,1         | w=oc
        D0 /1                      | ror         | !Eb,1         | w=oc
        D0 /2                      | rcl         | !Eb,1         | r=c w=oc
        D0 /3                      | rcr         | !Eb,1         | r=c w=oc
        D0 /4                      | shl         | !Eb,1         | w=oszpc u=a
        D0 /5                      | shr         | !Eb,1         | w=oszpc u=a
        D0 /6                      | shl         | !Eb,1         | w=oszpc u=a
        D0 /7                      | sar         | !Eb,1         | w=oszpc u=a
        D1 /0                      | rol         | !Ev,1         | w=oc
        D1 /1                      | ror         | !Ev,1         | w=oc
        D1 /2                      | rcl         | !Ev,1         | r=c w=oc
        D1 /3                      | rcr         | !Ev,1         | r=c w=oc
        D1 /4                      | shl         | !Ev,1         | w=oszpc u=a
        D1 /5                      | shr         | !Ev,1         | w=oszpc u=a
        D1 /6                      | shl         | !Ev,1         | w=oszpc u=a
        D1 /7                      | sar         | !Ev,1         | w=oszpc u=a
        D2 /0                      | rol         | !Eb,CL        | w=oc may
        D2 /1                      | ror         | !Eb,CL        | w=oc may
        D2 /2                      | rcl         | !Eb,CL        | r=c w=oc may
        D2 /3                      | rcr         | !Eb,CL        | r=c w=oc may
        D2 /4                      | shl         | !Eb,CL        | w=oszpc u=a may
        D2 /5                      | shr         | !Eb,CL        | w=oszpc u=a may
        D2 /6                      | shl         | !Eb,CL        | w=oszpc u=a may
        D2 /7                      | sar         | !Eb,CL        | w=oszpc u=a may
        D3 /0                      | rol         | !Ev,CL        | w=oc may
        D3 /1                      | ror         | !Ev,CL        | w=oc may
        D3 /2                      | rcl         | !Ev,CL        | r=c w=oc may
        D3 /3                      | rcr         | !Ev,CL        | r=c w=oc may
        D3 /4                      | shl         | !Ev,CL        | w=oszpc u=a may
        D3 /5                      | shr         | !Ev,CL        | w=oszpc u=a may
        D3 /6                      | shl         | !Ev,CL        | w=oszpc u=a may
        D3 /7                      | sar         | !Ev,CL        | w=oszpc u=a may
        0F A4 /r                   | shld        | !Ev,Gv,Ib     | w=oszpc u=a may
        0F A5 /r                   | shld        | !Ev,Gv,CL     | w=oszpc u=a may
        0F AC /r                   | shrd        | !Ev,Gv,Ib     | w=oszpc u=a may
        0F AD /r                   | shrd        | !Ev,Gv,CL     | w=oszpc u=a may
        # bits
        0F A3 /r                   | bt          | :Ev,Gv        | w=c u=osap
        0F BA /4                   | bt          | :Ev,Ib        | w=c u=osap
        0F AB /r                   | bts         | !Ev,Gv        | w=c u=osap lock
        0F BA /5                   | bts         | !Ev,Ib        | w=c u=osap lock
        0F B3 /r                   | btr         | !Ev,Gv        | w=c u=osap lock
        0F BA /6                   | btr         | !Ev,Ib        | w=c u=osap lock
        0F BB /r                   | btc         | !Ev,Gv        | w=c u=osap lock
        0F BA /7                   | btc         | !Ev,Ib        | w=c u=osap lock
        F3 0F BC /r                | tzcnt       | Gv,Ev         | bmi1 w=zc u=osap
        0F BC /r                   | bsf         | !Gv,Ev        | w=z u=osapc
        F3 0F BD /r                | lzcnt       | Gv,Ev         | lzcnt w=zc u=osap
        0F BD /r                   | bsr         | !Gv,Ev        | w=z u=osapc
        F3 0F B8 /r                | popcnt      | Gv,Ev         | popcnt w=oszapc
        0F C8+r                    | bswap       | !Zv           |
        66 0F 38 F6 /r             | adcx        | !Gy,Ey        | adx r=c w=c
        F3 0F 38 F6 /r             | adox        | !Gy,Ey        | adx r=o w=o
        F2 0F 38 F0 /r             | crc32       | !Gy,Eb        | sse4_2
        F2 0F 38 F1 /r             | crc32       | !Gy,Ev        | sse4_2
        # moves
        88 /r                      | mov         | Eb,Gb         |
        89 /r                      | mov         | Ev,Gv         |
        8A /r                      | mov         | Gb,Eb         |
        8B /r                      | mov         | Gv,Ev         |
        8C /r                      | movSeg      | Ev/w,Sw       |
        8E /r                      | movSeg      | sw,Ew         | seg mem
        A0                         | mov         | AL,Ob         |
        A1                         | mov         | vAX,Ov        |
        A2                         | mov         | Ob,AL         |
        A3                         | mov         | Ov,vAX        |
        B0+r                       | mov         | Zb,Ib         |
        B8+r                       | mov         | Zv,Iv         |
        C6 /0                      | mov         | Eb,Ib         |
        C7 /0                      | mov         | Ev,Iz         |
        63 /r                      | movsxd      | Gv,Ez         | o64
        0F B6 /r                   | movzx       | Gv,Eb         |
        0F B7 /r                   | movzx       | Gv,Ew         |
        0F BE /r                   | movsx       | Gv,Eb         |
        0F BF /r                   | movsx       | Gv,Ew         |
        NFx 0F 38 F0 /r mem        | movbe       | Gv,Mv         | movbe
        NFx 0F 38 F1 /r mem        | movbe       | Mv,Gv         | movbe
        8D /r mem                  | lea         | Gv,M          |
        86 /r                      | xchg        | !Eb,!Gb       | lock
        87 /r                      | xchg        | !Ev,!Gv       | lock
        F3 90 noB                  | pause       |               |
        90 noB                     | nop         |               |
        90+r                       | xchg        | !Zv,!vAX      |
        0F B0 /r                   | cmpxchg     | !Eb,Gb        | w=oszapc lock
        0F B1 /r                   | cmpxchg     | !Ev,Gv        | w=oszapc lock
        0F C0 /r                   | xadd        | !Eb,!Gb       | w=oszapc lock
        0F C1 /r                   | xadd        | !Ev,!Gv       | w=oszapc lock
        0F C7 /1 mem W0            | cmpxchg8b   | !Mq           | w=z lock cx8
        0F C7 /1 mem W1            | cmpxchg16b  | !Mdq          | w=z lock cx16
        98                         | cbw         |               |
        99                         | cwd         |               |
        D7                         | xlat        |               | mem
        D6                         | salc        |               | i64 r=c
        9E                         | sahf        |               | w=szapc lahf
        9F                         | lahf        |               | r=szapc lahf
        0F 40+c /r                 | cmovcc      | !Gv,Ev        | r=oszpc cmov
        0F 90+c /r                 | setcc       | Eb            | r=oszpc
        NP 0F C3 /r mem            | movnti      | My,Gy         | sse2
        # stack
        50+r                       | push        | :Zv           | d64 mem
        58+r                       | pop         | Zv            | d64 mem
        68                         | push        | Iz            | d64 mem
        6A                         | push        | Is            | d64 mem
        8F /0                      | pop         | Ev            | d64 mem
        FF /6                      | push        | :Ev           | d64 mem
        06                         | pushSeg     | :ES           | i64 mem
        0E                         | pushSeg     | :CS           | i64 mem
        16                         | pushSeg     | :SS           | i64 mem
        1E                         | pushSeg     | :DS           | i64 mem
        07                         | popSeg      | ES            | i64 seg mem
        17                         | popSeg      | SS            | i64 seg mem
        1F                         | popSeg      | DS            | i64 seg mem
        0F A0                      | pushSeg     | :FS           | d64 mem
        0F A8                      | pushSeg     | :GS           | d64 mem
        0F A1                      | popSeg      | FS            | d64 seg mem
        0F A9                      | popSeg      | GS            | d64 seg mem
        60                         | pusha       |               | i64 mem
        61                         | popa        |               | i64 mem
        9C                         | pushf       |               | d64 r=oszapctidnv mem
        9D                         | popf        |               | d64 w=oszapctidnv mem
        C8                         | enter       | Iw,Ib         | d64 mem
        C9                         | leave       |               | d64 mem
        C4 /r mem                  | les         | Gv,Mp         | i64 end mem
        C5 /r mem                  | lds         | Gv,Mp         | i64 end mem
        0F B2 /r mem               | lss         | Gv,Mp         | end v=farW mem
        0F B4 /r mem               | lfs         | Gv,Mp         | end v=farW mem
        0F B5 /r mem               | lgs         | Gv,Mp         | end v=farW mem
        62 /r mem                  | bound       | :Gv,Ma        | i64
        # control flow
        70+c                       | jcc         | Jb            | f64 cond r=oszpc v=branch66
        0F 80+c                    | jcc         | Jz            | f64 cond r=oszpc v=branch66
        E0                         | loopne      | Jb            | f64 cond r=z v=branch66
        E1                         | loope       | Jb            | f64 cond r=z v=branch66
        E2                         | loop        | Jb            | f64 cond v=branch66
        E3                         | jcxz        | Jb            | f64 cond v=branch66
        E8                         | call        | Jz            | f64 br v=branch66 mem
        E9                         | jmp         | Jz            | f64 br v=branch66
        EB                         | jmp         | Jb            | f64 br v=branch66
        9A                         | callFar     | Ap            | i64 br mem
        EA                         | jmpFar      | Ap            | i64 br mem
        FF /2                      | call        | :Ev           | f64 br v=branch66 mem
        FF /3 mem                  | callFar     | :Mp           | br v=farW mem
        FF /4                      | jmp         | :Ev           | f64 br v=branch66
        FF /5 mem                  | jmpFar      | :Mp           | br v=farW mem
        C2                         | ret         | Iw            | f64 br v=branch66 mem
        C3                         | ret         |               | f64 br v=branch66 mem
        CA                         | retFar      | Iw            | br mem
        CB                         | retFar      |               | br mem
        CC                         | int3        |               | br mem
        CD                         | int         | Ib            | br mem
        CE                         | into        |               | i64 br r=o mem
        CF                         | iret        |               | br w=oszapctidnv mem
        F1                         | int1        |               | br mem
        # strings
        A4                         | movs        | Yb,Xb         | r=d
        A5                         | movs        | Yv,Xv         | r=d
        A6                         | cmps        | :Xb,Yb        | r=d w=oszapc may
        A7                         | cmps        | :Xv,Yv        | r=d w=oszapc may
        AA                         | stos        | Yb,AL         | r=d
        AB                         | stos        | Yv,vAX        | r=d
        AC                         | lods        | AL,Xb         | r=d
        AD                         | lods        | vAX,Xv        | r=d
        AE                         | scas        | :AL,Yb        | r=d w=oszapc may
        AF                         | scas        | :vAX,Yv       | r=d w=oszapc may
        6C                         | ins         | Yb,DX         | r=d iopl
        6D                         | ins         | Yz,DX         | r=d iopl
        6E                         | outs        | :DX,Xb        | r=d iopl
        6F                         | outs        | :DX,Xz        | r=d iopl
        # flags
        F5                         | cmc         |               | r=c w=c
        F8                         | clc         |               | w=c
        F9                         | stc         |               | w=c
        FC                         | cld         |               | w=d
        FD                         | std         |               | w=d
        # no effect, hints, undefined
        0F 18 /0 mem               | prefetchnta | :M            | sse
        0F 18 /1 mem               | prefetcht0  | :M            | sse
        0F 18 /2 mem               | prefetcht1  | :M            | sse
        0F 18 /3 mem               | prefetcht2  | :M            | sse
        0F 0D /0 mem               | prefetch    | :M            | prefetchw
        0F 0D /1 mem               | prefetchw   | :M            | prefetchw
        0F 0D /r                   | nop         | :Ev           | v=prefetchRegister nomem
        F3 0F 1E :FA               | endbr       |               |
        F3 0F 1E :FB               | endbr       |               |
        0F 18 /r                   | nop         | :Ev           | nomem
        0F 19 /r                   | nop         | :Ev           | nomem
        0F 1A /r                   | nop         | :Ev           | nomem
        0F 1B /r                   | nop         | :Ev           | nomem
        0F 1C /r                   | nop         | :Ev           | nomem
        0F 1D /r                   | nop         | :Ev           | nomem
        0F 1E /r                   | nop         | :Ev           | nomem
        0F 1F /r                   | nop         | :Ev           | nomem
        0F 0B                      | ud2         |               | br
        0F B9 /r                   | ud1         | :Gv,Ev        | br
        0F FF /r                   | ud0         | :Gv,Ev        | br
        # BMI1, BMI2
        VEX.128.NP.0F38.WIG F2 /r  | andn        | Gy,By,Ey      | bmi1 w=oszc u=ap x13
        VEX.128.NP.0F38.WIG F3 /1  | blsr        | By,Ey         | bmi1 w=oszc u=ap x13
        VEX.128.NP.0F38.WIG F3 /2  | blsmsk      | By,Ey         | bmi1 w=oszc u=ap x13
        VEX.128.NP.0F38.WIG F3 /3  | blsi        | By,Ey         | bmi1 w=oszc u=ap x13
        VEX.128.NP.0F38.WIG F7 /r  | bextr       | Gy,Ey,By      | bmi1 w=ozc u=sap x13
        VEX.128.NP.0F38.WIG F5 /r  | bzhi        | Gy,Ey,By      | bmi2 w=oszc u=ap x13
        VEX.128.F2.0F38.WIG F5 /r  | pdep        | Gy,By,Ey      | bmi2 x13
        VEX.128.F3.0F38.WIG F5 /r  | pext        | Gy,By,Ey      | bmi2 x13
        VEX.128.F2.0F38.WIG F6 /r  | mulx        | Gy,=By,Ey     | bmi2 x13
        VEX.128.F2.0F3A.WIG F0 /r  | rorx        | Gy,Ey,Ib      | bmi2 x13
        VEX.128.66.0F38.WIG F7 /r  | shlx        | Gy,Ey,By      | bmi2 x13
        VEX.128.F3.0F38.WIG F7 /r  | sarx        | Gy,Ey,By      | bmi2 x13
        VEX.128.F2.0F38.WIG F7 /r  | shrx        | Gy,Ey,By      | bmi2 x13
        """
}
