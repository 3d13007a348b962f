use super::*;

/// Check that the first frame of HTTP/2 is known in all its forms, and that nothing else is taken for it.
#[test]
fn greetings_are_told_apart() {
    for (head, expected) in [
        (&b""[..], Greeting::Silence),
        // No settings, three settings, the reserved bit set.
        (b"\0\0\0\x04\0\0\0\0\0", Greeting::Http2),
        (b"\0\0\x12\x04\0\0\0\0\0", Greeting::Http2),
        (b"\0\0\0\x04\0\x80\0\0\0", Greeting::Http2),
        (b"HTTP/1.1 400 Bad", Greeting::Http1),
        (b"HTTP/", Greeting::Http1),
        (b"HTT", Greeting::Foreign),
        // Cut short, of a stream, an acknowledgement, of half a setting, another type.
        (b"\0\0\0\x04\0\0\0\0", Greeting::Foreign),
        (b"\0\0\0\x04\0\0\0\0\x01", Greeting::Foreign),
        (b"\0\0\0\x04\x01\0\0\0\0", Greeting::Foreign),
        (b"\0\0\x07\x04\0\0\0\0\0", Greeting::Foreign),
        (b"\0\0\0\x07\0\0\0\0\0", Greeting::Foreign),
        (b"\0\0\0\0\0\0\0\0\0", Greeting::Foreign),
        (b"SSH-2.0-Server", Greeting::Foreign),
        (b"\x15\x03\x01\0\x02\x02\x0a", Greeting::Foreign),
    ] {
        assert_eq!(Greeting::of(head), expected, "{head:?}");
    }
}

/// Check that what was heard once counts, whatever a later connection says.
#[test]
fn the_best_greeting_counts() {
    let heard = Heard::default();
    assert_eq!(heard.greeting(), Greeting::Silence);
    for greeting in Greeting::ALL {
        heard.note(greeting);
        assert_eq!(heard.clone().greeting(), greeting);
    }
    heard.note(Greeting::Foreign);
    assert_eq!(heard.greeting(), Greeting::Http2);
}
