//! Texts as the kernel, compilers and people write them.

use crate::{Seeds, numbered};

const PROCESSES: &[&str] = &[
    "563fe598a000-563fe598f000 r-xp 00002000 fe:00 247026                     /usr/bin/a b\n\
     563fe598f000-563fe5990000 r--p 00007000 fe:00 247026                     /usr/bin/a b\n\
     563fe6000000-563fe6021000 rw-p 00000000 00:00 0                          [heap]\n\
     7f0000000000-7f0000021000 rw-p 00000000 00:00 0 \n\
     7f0000400000-7f0000500000 r-xp 00028000 fe:00 1311 /usr/lib/libc.so.6 (deleted)\n\
     7f0000480000-7f0000490000 r-xp 00000000 00:01 2048 /memfd:jit (deleted)\n\
     7fff5c9fe000-7fff5ca1f000 rw-p 00000000 00:00 0                          [stack]\n\
     7fff5ca7b000-7fff5ca7d000 r-xp 00000000 00:00 0                          [vdso]\n\
     ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n",
    "1000-5000 r-xp 00000000 fe:00 1 /a\\012b\n2000-3000 r-xp 00001000 00:30 2 /c\n\
     0-ffffffffffffffff r-xp ffffffffffffffff ffffffff:ffffffff 18446744073709551615 x\n\
     2800-2900 r-xp 0 00:00 0 [anon:x]\n0-1 r-xp 0 00:00 0\n",
    "42 (a) R 1 (b ) S 7 42 42 0 -1 4194560 100 0 0 0 1 2 3 4 20 0 1 0 123456 5 6\n",
    "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 3 0 0",
    "9 (sh) Z 1 9 9 0 -1 4228364 0 0 0 0 0 0 0 0 20 0 1 0 77 0 0",
    "Name:\tjava\nPid:\t4711\nUid:\t1000\t1001\t1000\t1000\nNStgid:\t4711\t7\nNSpid:\t4711\t7\n",
    "PATH=/bin\0OTEL_SERVICE_NAME=checkout\0OTEL_RESOURCE_ATTRIBUTES=service.name=a%20b,service.version=v2\0\
     OTEL_SERVICE_NAME=second\0HOME=/\0",
    "service.name= shop ,service.version=1.2%2,k8s.pod.name=p-1,k8s.namespace.name=%C3%BC,telemetry.sdk.language=go,=,x",
    "0::/system.slice/worker@7.service\n",
    "12:pids:/docker/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n1:name=systemd:/init.scope\n",
    "0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope\n",
    "0::/a/cri-containerd:pod:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef/b\n",
    "5:cpu:/ecs/task/0123456789abcdef0123456789abcdef-1234567\n0::/lxc.payload.web/machine-db.scope/user@0.service\n",
    "0::/crio-conmon-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope\n",
];

const KERNEL: &[&str] = &[
    "0000000000000000 A fixed_percpu_data\nffffffff81000000 T _text\nffffffff81000000 T _stext\n\
     ffffffff81000100 t do_idle\nffffffff81000200 T entry_SYSCALL_64\nffffffff81000280 W weak\n\
     ffffffff81000280 T __pfx_strong\nffffffff81000280 T strong\nffffffff81000300 D data\n\
     ffffffff81000400 T _etext\nffffffff81000500 T _end\n\
     ffffffffc0201000 t nft_do_chain\t[nf_tables]\nffffffffc0201100 d nft_data\t[nf_tables]\n\
     ffffffffc0301000 t unlisted\t[other]\nffffffffc0500000 t bpf_prog_6deef7357e7b4530_x\t[bpf]\n\
     ffffffffc0600000 t ftrace_trampoline\t[__builtin__ftrace]\n\
     nf_tables 372736 123 nft_ct,nft_nat, Live 0xffffffffc0200000 (OE)\n\
     overlap 4096 0 - Live 0xffffffffc0200800\n../x 1 0 - Live 0x10\n.y 1 0 - Live 0x0000000000000000\n",
    "10 T _text\n20 T f\n20 t g\n30 i h\n30 d e\n40 T \u{fc}\nffffffffffffffff T _end\n",
    "0 T a\n8 t b\n10 T b\n",
];

const PEOPLE: &[&str] = &[
    r#"{service="checkout", version=~"v2.*", pod!="", host!~"a|b"}"#,
    r#"service="a\n\x41\101\u00e9\U0001f600\"",'quoted name'='b',x=`raw\`,"#,
    "{}",
    r#"a=~"(?i)[[:alpha:]]{1,9}(x|y)+\\d$""#,
    "-1h30m\nnow",
    "now-7d\n2026-11-22T10:00:00Z",
    "2026-11-22 11:00:00.5+01:00",
    "1795341600.25",
    "2026-11-22",
    "15m",
    "-9999999999999999999w",
    "file-gnu-0123456789abcdef",
    "module-htl-00112233445566778899aabbccddeeff",
];

const COMPILERS: &[&str] = &[
    "_ZN4core3fmt9Formatter3pad17h0123456789abcdefE\0_ZNSt6vectorIiSaIiEE9push_backEOi\0memcpy@@GLIBC_2.14",
    "_RNvC6_123foo3bar\0_RINvNtC3std3mem4swapNtB2_1xE\0_RNCNvXs_NtC1a1bNtB4_1cNtC4core1d1e0B6_",
    "_ZN12_GLOBAL__N_1L1fEPKcz\0_ZTV1A\0_ZGVZ1fvE1x\0_ZNKSt8functionIFvvEEclEv.cold\0__Z1fv\0i",
    "_ZZ1fvENKUlT_E_clIiEEDaS_\0_Z1fIXadL_Z1gvEEEvv\0_Z1fDpT_\0_ZN1AcvT_IiEEv\0_ZNSs4swapERSs\0_Z1fU8__vectorf",
    "_ZN1aIXsrN1b1cE1dEE1eEv\0_Z1fILi3ELb1EEvv\0_Z1fDTcl1gfp_EE\0_ZlsRSoRK1A\0_ZNO1A1fEv\0_RMC0INtC0AKj8_E\0_RYC0TC0",
    "_D3foo6__ctorMFNeAyaKiZC3foo1C\0_D1a__T1fVAyaa3_686921VdeN1PN2TFNbiZvX1gZQbFHiAhDxFMPiZvXv\0_D1a1fFHiiHQeQgZv",
    "_D1a__T1fS_D1a1gFiZvVS1a1PS2i1nVHiiA1i1i2VwwZ1fMyFNkMG4iNhG4fB2iaYv.part.0\0_DThn16_3foo6__initZ\0_D3fooMQb",
    "$s1a1bV1c1d_yAC_SiztYaKFTY0_\0$S1a1bCfD\0_T01a1bC1cyAC1d_tFTo\0$e1a1bV007ber_goaSivgZ\0$s1a1byyF1cL_VMa",
    "$sSaySiGSayxGSHsSHRzlWl\0$s1a1bVAA1cA2aDP1dyyFTW\0$s1a1byyFyyXEfU_TA\0$sxIegr_SSs5Error_pIegozo_lTRTATQ0_",
    "$s1a1byyxSTRzSi7ElementRtzlFSaySiG_Tg5Tf4dgX_n\0$s1a1byySiF3$sxTf3pfpi1_n\0$s1a1bSDySSyXlSgGvMTj.cold.1",
    "$s1a1byyxxQpRvzlF\0$sSTsE1ayyyqd__ScMYcclF\0$s1a1bQryFQOy_Qo_D\0$sxz_Bi32__lXXWOe\0$s1a1bV1cSivpACTK",
];

/// Of `/proc/PID`.
pub(crate) fn of_processes() -> Seeds {
    numbered(PROCESSES.iter().map(|text| text.as_bytes().to_vec()))
}

/// Of `/proc/kallsyms` and `/proc/modules`.
pub(crate) fn of_the_kernel() -> Seeds {
    numbered(KERNEL.iter().map(|text| text.as_bytes().to_vec()))
}

/// Selectors, times, ids.
pub(crate) fn of_people() -> Seeds {
    numbered(PEOPLE.iter().map(|text| text.as_bytes().to_vec()))
}

/// Mangled names.
pub(crate) fn of_compilers() -> Seeds {
    numbered(COMPILERS.iter().map(|text| text.as_bytes().to_vec()))
}
