use super::*;

/// Check that what `Display` writes `FromStr` reads, for every kind of object and build ID.
#[test]
fn object_ids_survive_their_text_form() {
    for kind in [ObjectKind::File, ObjectKind::Kernel, ObjectKind::KernelModule, ObjectKind::Vdso] {
        for id_kind in [BuildIdKind::Gnu, BuildIdKind::Go, BuildIdKind::Htl] {
            let build_id = BuildId::new(id_kind, b"a/b-c\xff\x00").expect("valid");
            let id = ObjectId { kind, build_id };
            let text = id.to_string();
            assert!(!text.contains('/'), "{text} is not a file name");
            assert_eq!(text.parse::<ObjectId>(), Ok(id));
        }
    }
}

/// Check that text which is not an id is refused rather than read as something else.
#[test]
fn malformed_object_ids_are_refused() {
    for text in [
        "",
        "file",
        "file-gnu",
        "file-gnu-",
        "file-gnu-0",
        "file-gnu-zz",
        "x-gnu-00",
        "file-x-00",
        "anonymous-gnu-00",
        "../file-gnu-00",
    ] {
        assert!(text.parse::<ObjectId>().is_err(), "{text:?} was accepted");
    }
}

/// Check the size limits of a build ID.
#[test]
fn build_ids_are_bounded() {
    assert_eq!(BuildId::new(BuildIdKind::Gnu, &[]), Err(IdError::BuildIdSize(0)));
    assert!(BuildId::new(BuildIdKind::Gnu, &[1; MAX_BUILD_ID_BYTES]).is_ok());
    assert!(BuildId::new(BuildIdKind::Gnu, &[1; MAX_BUILD_ID_BYTES + 1]).is_err());
}

/// Check that equal bytes of different origin are different ids.
#[test]
fn build_ids_of_different_kinds_differ() {
    let gnu = BuildId::new(BuildIdKind::Gnu, &[7; 16]);
    assert_ne!(gnu, BuildId::new(BuildIdKind::Htl, &[7; 16]));
}

/// Check that batch ids survive their text form and that sequence 0 is refused.
#[test]
fn batch_ids_survive_their_text_form() {
    let id = BatchId { instance: InstanceId::random(), sequence: u64::MAX };
    assert_eq!(id.to_string().parse::<BatchId>(), Ok(id));
    assert_eq!(BatchId::from_wire(id.instance.as_bytes(), 0), Err(IdError::ZeroSequence));
    assert_eq!(BatchId::from_wire(&[1; 15], 1), Err(IdError::InstanceSize(15)));
}
