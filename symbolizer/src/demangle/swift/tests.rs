//! The expected names are what `swift-demangle` of Swift 6.2.3 says, unless a test says otherwise.

use proptest::prelude::*;

use super::{MAX_INNER_NAMES, demangle};
use crate::demangle::MAX_DEMANGLED_BYTES;

/// Pairs of a mangled name and its meaning. From libraries of Swift, programs of ours, and by hand.
const KNOWN: &[(&str, &str)] = &[
    // Functions and operators: labels, effects, ownership, identifiers with words and Punycode.
    ("$s4main5helloSSyYaKF", "main.hello() async throws -> Swift.String"),
    ("_$s4prog2sqyS2d_SdtF", "prog.sq(Swift.Double, Swift.Double) -> Swift.Double"),
    ("$S4prog2sqyS2d_SdtF", "prog.sq(Swift.Double, Swift.Double) -> Swift.Double"),
    ("$e4prog1KC2goyS2iF", "prog.K.go(Swift.Int) -> Swift.Int"),
    ("$s4prog1SV3eeeoiySbAC_ACtFZ", "static prog.S.=== infix(prog.S, prog.S) -> Swift.Bool"),
    ("$s4prog003BJgopyS2dF", "prog.√ prefix(Swift.Double) -> Swift.Double"),
    ("$s4prog1SV007ber_goa009gre_GkaIiS2i_tF", "prog.S.über(größe: Swift.Int) -> Swift.Int"),
    ("$s4prog1SV0021weirdname_kjaAGGIBdkaSivg", "prog.S.`weird name`.getter : Swift.Int"),
    (
        "$s4prog3inl_2bySaySayxGGAD_Sbx_xtKXEtKlF",
        "prog.inl<A>(_: [A], by: (A, A) throws -> Swift.Bool) throws -> [[A]]",
    ),
    ("$s4prog5typedyS2iAA7FailureOYKF", "prog.typed(Swift.Int) throws(prog.Failure) -> Swift.Int"),
    ("$s4prog7sendingyAA6CircleCADnF", "prog.sending(__owned prog.Circle) -> prog.Circle"),
    ("$s4prog4OnGAC3isoyyAA0C0CYiF", "prog.OnGA.iso(isolated prog.GA) -> ()"),
    (
        "$s4prog1BV10buildBlockyxxQp_txxQpRvzlFZ",
        "static prog.B.buildBlock<each A>(repeat A) -> (repeat A)",
    ),
    (
        "$s10Foundation017_NSCFXMLBridgeForA10XMLUseOnlyV14CFStringAppendSvvg",
        "Foundation._NSCFXMLBridgeForFoundationXMLUseOnly.CFStringAppend.getter : Swift.UnsafeMutableRawPointer",
    ),
    // Initializers, accessors, subscripts.
    ("$s4prog5ModelCACycfC", "prog.Model.__allocating_init() -> prog.Model"),
    ("$s4prog4BaseC4fromACSS_tKcfc", "prog.Base.init(from: Swift.String) throws -> prog.Base"),
    ("$s4prog3DMLVACyxGycfC", "prog.DML.init() -> prog.DML<A>"),
    ("$s4prog7DerivedCfd", "prog.Derived.deinit"),
    ("$s4prog5ModelCfD", "prog.Model.__deallocating_deinit"),
    ("$s4prog7CounterCfZ", "prog.Counter.__isolated_deallocating_deinit"),
    (
        "$s4prog6CircleC1r33_6B2711BAEB58CF0B226FF4EBF8D3913ALLSdvw",
        "prog.Circle.(r in _6B2711BAEB58CF0B226FF4EBF8D3913A).willset : Swift.Double",
    ),
    (
        "$s4prog4TreeO2ItV1sSayACyxGGvM.resume.0",
        "prog.Tree.It.s.modify : [prog.Tree<A>] with unmangled suffix \".resume.0\"",
    ),
    (
        "$s4prog6MatrixV_1jxSi_Sitcis",
        "prog.Matrix.subscript.setter : (_: Swift.Int, j: Swift.Int) -> A",
    ),
    (
        "$s4prog4BaseC_1dxSgx_xyXKtcSHRzluigTj",
        "dispatch thunk of prog.Base.subscript.getter : <A where A: Swift.Hashable>(_: A, d: @autoclosure () -> A) -> A?",
    ),
    (
        "$s4prog2rx17_StringProcessing5RegexVySs_SiSgtGvauTm",
        "merged prog.rx.unsafeMutableAddressor : _StringProcessing.Regex<(Swift.Substring, Swift.Int?)>",
    ),
    ("$s4prog2mx_WZ", "one-time initialization function for mx"),
    // What is within functions, or made by macros.
    (
        "$s4prog6useAllyyYaKFyyYaYbScMYccfU2_TA",
        "partial apply forwarder for closure #4 @Swift.MainActor @Sendable () async -> () in prog.useAll() async throws -> ()",
    ),
    (
        "$s4prog6useAllyyYaKFS2iYbcSaySiGYbcfu_S2iYbcfu0_",
        "implicit closure #2 @Sendable (Swift.Int) -> Swift.Int in implicit closure #1 @Sendable ([Swift.Int]) -> @Sendable (Swift.Int) -> Swift.Int in prog.useAll() async throws -> ()",
    ),
    (
        "$s4prog6nestedySaySiGSiF5LocalL_V4DeepO4hash4intoys6HasherVz_tF",
        "Deep.hash(into: inout Swift.Hasher) -> () in Local #1 in prog.nested(Swift.Int) -> [Swift.Int]",
    ),
    (
        "$s4prog6nestedySaySiGSiF6helperL_yS2iF",
        "helper #1 (Swift.Int) -> Swift.Int in prog.nested(Swift.Int) -> [Swift.Int]",
    ),
    (
        "$s20FoundationEssentials8CalendarV22_normalizedWeeksOfYear33_4363B8B8518C6FC81BD8A914AE9B1500LL_6anchorSaySiGAG_AA4DateVtF9weekRangeL_SnySiGvg",
        "getter of weekRange #1 : Swift.Range<Swift.Int> in FoundationEssentials.Calendar.(_normalizedWeeksOfYear in _4363B8B8518C6FC81BD8A914AE9B1500)(_: [Swift.Int], anchor: FoundationEssentials.Date) -> [Swift.Int]",
    ),
    (
        "$ss13withTaskGroup2of9returning9isolation4bodyq_xm_q_mScA_pSgYiq_ScGyxGzYaXEtYas8SendableRzr0_lFfA0_",
        "default argument 1 of Swift.withTaskGroup<A, B where A: Swift.Sendable>(of: A.Type, returning: B.Type, isolation: isolated Swift.Actor?, body: (inout Swift.TaskGroup<A>) async -> B) async -> B",
    ),
    (
        "$s10Foundation14OperationQueueC13__propertyQoSAA16QualityOfServiceOSgvpfi",
        "variable initialization expression of Foundation.OperationQueue.__propertyQoS : Foundation.QualityOfService?",
    ),
    (
        "$s4prog0012bswift_DrJCafMX19_104_6expectfMf0_",
        "freestanding macro expansion #2 of expect in module prog file b.swift line 20 column 105",
    ),
    ("$s4main3fooyyF3bar4namefMp_", "peer macro @name expansion #1 of bar in main.foo() -> ()"),
    // Extensions, generics, types.
    (
        "$s4prog2PPPAAE4dflt1A_7ElementQZSgyYaF",
        "(extension in prog):prog.PP.dflt() async -> A.A.Element?",
    ),
    (
        "$ss18DiscontiguousSliceVsSMRzrlEy7ElementQzAB5IndexVyx_Gcig",
        "(extension in Swift):Swift.DiscontiguousSlice< where A: Swift.MutableCollection>.subscript.getter : (Swift.DiscontiguousSlice<A>.Index) -> A.Element",
    ),
    (
        "$s20FoundationEssentials27StandardPredicateExpression_pSb6OutputAA0dE0PRts_XPWOc",
        "outlined init with copy of any FoundationEssentials.StandardPredicateExpression<Self.FoundationEssentials.PredicateExpression.Output == Swift.Bool>",
    ),
    (
        "$s4main5boxedyyx_yXlXpSS_SdtmtRlzCRi0_zlF",
        "main.boxed<A where A: AnyObject, A: ~Swift.Escapable>(A, Swift.AnyObject.Type, (Swift.String, Swift.Double).Type) -> ()",
    ),
    ("$s4main3VecVy$1_SiGD", "main.Vec<2, Swift.Int>"),
    ("$s4main1P_AA1QXlXpSgD", "main.P & main.Q & Swift.AnyObject.Type?"),
    (
        "$s4prog5ModelC2cb_1gyyyYaYbScMYcc_ySizYbctF",
        "prog.Model.cb(_: @Swift.MainActor @Sendable () async -> (), g: @Sendable (inout Swift.Int) -> ()) -> ()",
    ),
    // Witnesses and what else is made for types.
    (
        "$s4prog3OptVs10SetAlgebraAAsADP9formUnionyyxnFTW",
        "protocol witness for Swift.SetAlgebra.formUnion(__owned A) -> () in conformance prog.Opt : Swift.SetAlgebra in prog",
    ),
    (
        "$sSayxGs25LosslessStringConvertible4progSiRszls06CustombC0PWb",
        "base witness table accessor for Swift.CustomStringConvertible in <A where A == Swift.Int> [A] : Swift.LosslessStringConvertible in prog",
    ),
    (
        "$s4prog3ImpVAA2PPAA1AAaDP_7ElementSTSQWT",
        "associated type witness table accessor for prog.PP.A.Swift.Sequence.Element : Swift.Equatable in prog.Imp : prog.PP in prog",
    ),
    (
        "$sSaySdSgGSayxGSHsSHRzlWl",
        "lazy protocol witness table accessor for type [Swift.Double?] and conformance <A where A: Swift.Hashable> [A] : Swift.Hashable in Swift",
    ),
    (
        "$s4prog7FailureOwCPTm",
        "merged initializeBufferWithCopyOfBuffer value witness for prog.Failure",
    ),
    ("$s4prog4TreeOMi", "type metadata instantiation function for prog.Tree"),
    ("$s4prog7FailureOWOe", "outlined consume of prog.Failure"),
    ("$s4prog4Box2VyxGRi_zlWOb", "outlined init with take of prog.Box2<A>"),
    // Functions that call others, parts of asynchronous ones.
    (
        "$s10Foundation18ByteCountFormatterC6string3forSSSgypSg_tFAA0D0CAdeFyp_tFTV",
        "vtable thunk for Foundation.Formatter.string(for: Any) -> Swift.String? dispatching to Foundation.ByteCountFormatter.string(for: Any?) -> Swift.String?",
    ),
    (
        "$sxIeAgHr_xs5Error_pIegHrzo_s8SendableRzs5NeverORs_r0_lTR",
        "reabstraction thunk helper <A, B where A: Swift.Sendable, B == Swift.Never> from @escaping @isolated(any) @callee_guaranteed @async () -> (@out A) to @escaping @callee_guaranteed @async () -> (@out A, @error @owned Swift.Error)",
    ),
    (
        "$sIetH_yts5Error_pIegHrzo_TRTATQ0_",
        "(1) await resume partial function for partial apply forwarder for reabstraction thunk helper from @escaping @convention(thin) @async () -> () to @escaping @callee_guaranteed @async () -> (@out (), @error @owned Swift.Error)",
    ),
    (
        "$s4prog7consumeyyYaKFTY2_",
        "(3) suspend resume partial function for prog.consume() async throws -> ()",
    ),
    (
        "$s4prog6WorkerC7compute_3tagSDySSSiGSi_SStYaKFTETF",
        "distributed accessor for distributed thunk prog.Worker.compute(_: Swift.Int, tag: Swift.String) async throws -> [Swift.String : Swift.Int]",
    ),
    (
        "$s4prog4dyn21aS2i_tFTI",
        "dynamically replaceable thunk for prog.dyn2(a: Swift.Int) -> Swift.Int",
    ),
    ("$sSo6mallocySvSgSiFTO", "@nonobjc __C.malloc(Swift.Int) -> Swift.UnsafeMutableRawPointer?"),
    (
        "$s4prog6MatrixV_1jxSi_SitcipACySiGSiTK",
        "key path getter for prog.Matrix.subscript(_: Swift.Int, j: Swift.Int) -> A : prog.Matrix<Swift.Int>Swift.Int",
    ),
    (
        "$s4prog2sqyS2d_SdtFTJpSSpSrTA",
        "partial apply forwarder for pullback of prog.sq(Swift.Double, Swift.Double) -> Swift.Double with respect to parameters {0, 1} and results {0}",
    ),
    ("$s4prog3fooyyFTc", "curry thunk of prog.foo() -> ()"),
    // Functions that were made for certain types and arguments.
    (
        "$s4prog6MatrixV3runxyYaKFSi_Tg5TY2_",
        "(3) suspend resume partial function for generic specialization <Swift.Int> of prog.Matrix.run() async throws -> A",
    ),
    (
        "$sSTsE22_copyToContiguousArrays0cD0Vy7ElementQzGyFTf4g_n",
        "function signature specialization <Arg[0] = Owned To Guaranteed> of (extension in Swift):Swift.Sequence._copyToContiguousArray() -> Swift.ContiguousArray<A.Element>",
    ),
    (
        "$sSa6remove2atxSi_tFSnySiG_Tgq5",
        "generic specialization <serialized, Swift.Range<Swift.Int>> of Swift.Array.remove(at: Swift.Int) -> A",
    ),
    (
        "$ss17_NativeDictionaryV4copyyyFAByxSiSgGSHRzADRs_r0_lIetMl_Tp5",
        "generic partial specialization <Signature = @escaping @convention(thin) @convention(method) <A, B where A: Swift.Hashable, B == Swift.Int?> (@inout Swift._NativeDictionary<A, Swift.Int?>) -> ()> of Swift._NativeDictionary.copy() -> ()",
    ),
    (
        "$ss19CooperativeExecutorC8runUntilyySbyXEKF05$ss19aB17C3runyyKFSbyXEfU_Tf1cn_n",
        "function signature specialization <Arg[0] = [Closure Propagated : closure #1 () -> Swift.Bool in Swift.CooperativeExecutor.run() throws -> (), Argument Types : []> of Swift.CooperativeExecutor.runUntil(() -> Swift.Bool) throws -> ()",
    ),
    (
        "$sIetH_yts5Error_pIegHrzo_TR10async_MainTf3npf_n",
        "function signature specialization <Arg[1] = [Constant Propagated Function : async_Main]> of reabstraction thunk helper from @escaping @convention(thin) @async () -> () to @escaping @callee_guaranteed @async () -> (@out (), @error @owned Swift.Error)",
    ),
    (
        "$s4main3fooyySSF5helloTf3psb_nTm",
        "merged function signature specialization <Arg[0] = [Constant Propagated String : u8'hello']> of main.foo(Swift.String) -> ()",
    ),
    (
        "$s4main5applyyyySiXEF7closurexz_Bi32__lXXTf1c_n",
        "function signature specialization <Arg[0] = [Closure Propagated : closure, Argument Types : [<A> { var A } <Builtin.Int32>]> of main.apply((Swift.Int) -> ()) -> ()",
    ),
    // Swift 4.0, where labels are in the types.
    ("_T04main3BoxC4swapyAC4with_tFTo", "@objc main.Box.swap(with: main.Box) -> ()"),
    (
        "_T04main3addSiSi6valuesd_SS4nametF",
        "main.add(values: Swift.Int..., name: Swift.String) -> Swift.Int",
    ),
];

#[test]
fn names_are_as_swift_has_them() {
    for (mangled, expected) in KNOWN {
        assert_eq!(demangle(mangled).as_deref(), Some(*expected), "{mangled}");
    }
}

/// The figures of ADR 006: `SWIFT_NAMES=FILE`, lines of a mangled name, a tab, and what `swift-demangle
/// -compact` makes of it.
#[test]
#[ignore = "needs a library of Swift programs"]
fn names_of_a_library_are_as_swift_has_them() {
    let file = std::env::var("SWIFT_NAMES").expect("SWIFT_NAMES names a file");
    let lines = std::fs::read_to_string(file).expect("readable");
    let [mut read, mut same, mut raw, mut more] = [0; 4];
    for (name, said) in lines.lines().filter_map(|line| line.split_once('\t')) {
        let ours = demangle(name);
        if said == name {
            more += u32::from(ours.is_some());
            continue;
        }
        read += 1;
        same += u32::from(ours.as_deref() == Some(said));
        raw += u32::from(ours.is_none());
        if ours.as_deref() != Some(said) {
            println!("{name}\n  ours: {ours:?}\n  theirs: {said}");
        }
    }
    println!("Swift reads {read}, {same} alike, {raw} stay raw here; we read {more} more");
    assert!(read > 100 && f64::from(same) >= 0.99 * f64::from(read));
}

/// Check where we say more than the original, which forgets `each`, and does not write `init` here.
#[test]
fn some_names_say_more() {
    for (mangled, expected) in [
        ("$s4main4packyyx_q_xQptRv_r0_lF", "main.pack<A, each B>(A, repeat B) -> ()"),
        (
            "$s4main1CCACyc33_885F476806621E9C5CBC3167C719EC73Llfc",
            "main.C.(in _885F476806621E9C5CBC3167C719EC73).init() -> main.C",
        ),
        (
            "$S4main1SV1x1uACyxGx_qd__tclufc1TL_ayx_qd___GD",
            "T #1 in main.S<A>.init<A1>(x: A, u: A1) -> main.S<A>",
        ),
    ] {
        assert_eq!(demangle(mangled).as_deref(), Some(expected), "{mangled}");
    }
}

/// Check that nothing is shown of names that are not whole, also where the original shows what it has.
#[test]
fn other_names_stay() {
    for name in [
        "",
        "$s",
        "$sx",
        "_T0",
        "_T0Si",
        "$s4main",
        "$s4main3foo",
        "$sTA",
        "$s4main3fooyyF3bar",
        "$s4main3fooyF",
        "$s4main3fooyyFT",
        "$s4main3fooyyFTf",
        "$s4main3fooyySiFSiTg5",
        "$s4main3fooyyFAZ",
        "$s4main3fooyyFTQ",
        "$s99999999999999999999main",
        "$s0main",
        "$s004main",
        "$s4main1SV\u{e9}Ma",
        "$s3m\u{e9}1SVMa",
        "$s4main1SV\x01abcdMa",
        "$s4main1SVMa@x",
        "$sBi99999_D",
        "$s4main1ESeLeV",
        "_TF4main3fooFT_T_",
        "s4main3fooyyF",
        "$x4main3fooyyF",
    ] {
        assert_eq!(demangle(name), None, "{name}");
    }
}

/// Check that references which unfold, and nesting without end, are given up.
#[test]
fn what_unfolds_is_given_up() {
    // Each type is a dictionary of the type before by that type.
    let twice = |index: usize| char::from(b'A' + u8::try_from(index).expect("small"));
    let doubling: String = (1..26).map(|at| format!("_SDyA{0}A{0}G", twice(at))).collect();
    assert_eq!(demangle(&format!("$s4main3fooyySDyS2iG{doubling}tF")), None);
    assert_eq!(demangle(&format!("$s4main3fooyySi{}F", "Sg".repeat(5_000))), None);
    assert_eq!(demangle(&format!("$s4main3fooyy{}F", "yyc".repeat(5_000))), None);
    assert_eq!(demangle(&format!("$s4main{}Ma", "1aV".repeat(5_000))), None);
    assert_eq!(demangle(&format!("$s4main1SV{}", "A2048a".repeat(2_000))), None);
    assert_eq!(demangle(&format!("$s4main1SV{}Ma", "S2048i".repeat(2_000))), None);
    assert_eq!(demangle(&format!("$s8abcdefgh{}", "0aaaaaaaaaaaaaaaaA0".repeat(800))), None);
    assert_eq!(demangle(&format!("$s001999{}", "a".repeat(1_999))), None);
    assert_eq!(demangle(&format!("$s009999{}", "a".repeat(9_999))), None);
    assert_eq!(demangle(&format!("$s4main3foor{}lF", "99999999_".repeat(900))), None);
}

/// Check that names within names end, too.
#[test]
fn names_within_names_are_bounded() {
    let mut name = "$s4main3fooyyF".to_owned();
    for _ in 0..=MAX_INNER_NAMES {
        name = format!("$s4main3fooyyF{}{name}Tf3pf_n", name.len());
    }
    let shown = demangle(&name).expect("read");
    assert_eq!(shown.matches("main.foo() -> ()").count(), 1 + MAX_INNER_NAMES as usize, "{shown}");
    assert!(shown.contains("Function : $s4main3fooyyF]"), "{shown}");
}

proptest! {
    /// Names of the operators and operands, which reach far into the parser.
    #[test]
    fn no_name_is_too_much(
        name in "\\$s4main(1[ab]|3foo|[0-9A-Za-z_$]|A[a-zA-C]|S[a-z]|yyF|yyc|lF|Qz|R[a-z]|Ieg_|T[a-z]|Tf[0-9]|fU_|ig|vg|_|y){0,80}",
    ) {
        prop_assert!(demangle(&name).is_none_or(|it| it.len() <= MAX_DEMANGLED_BYTES));
    }

    /// Real names with a few characters changed, taken out or put in.
    #[test]
    fn no_changed_name_is_too_much(
        name in prop::sample::select(KNOWN),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..3_u8, "[0-9A-Za-z_$.]"), 1..4),
    ) {
        let mut bytes = name.0.as_bytes().to_vec();
        for (at, how, by) in changes {
            let at = at.index(bytes.len());
            let by = by.as_bytes()[0];
            match how {
                0 => bytes[at] = by,
                1 => bytes.insert(at, by),
                _ => {
                    bytes.remove(at);
                }
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        prop_assert!(demangle(&text).is_none_or(|it| it.len() <= MAX_DEMANGLED_BYTES));
    }

    #[test]
    fn no_text_is_too_much(name in "(_T0|\\$s|_\\$S|\\$e)\\PC{0,300}") {
        let _ = demangle(&name);
    }
}
