//! How packets are written in these tests.
//!
//! | written | means |
//! |---|---|
//! | `C0FF` | bytes, in hex |
//! | `'abc'` | the bytes of a text |
//! | `"abc"` | the same with a length of two bytes before it: a string or binary field |
//! | `[ ... ]` | what is inside, with its length as a variable byte integer before it |
//!
//! So a PUBLISH is `30 [ "topic" [] 'payload' ]`.

/// The bytes that `text` stands for.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    let mut lists = vec![Vec::new()];
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let list = lists.last_mut().expect("one list at least");
        let len = match first {
            ' ' | '\n' => 1,
            '[' => {
                lists.push(Vec::new());
                1
            }
            ']' => {
                let inside = lists.pop().expect("one list at least");
                let outside = lists.last_mut().expect("brackets match");
                put_length(outside, inside.len());
                outside.extend(inside);
                1
            }
            '"' | '\'' => {
                let quoted = rest[1..].split(first).next().expect("quotes match");
                if first == '"' {
                    let len = u16::try_from(quoted.len()).expect("short texts");
                    list.extend(len.to_be_bytes());
                }
                list.extend(quoted.bytes());
                quoted.len() + 2
            }
            _ => {
                list.push(u8::from_str_radix(&rest[..2], 16).expect(text));
                2
            }
        };
        rest = &rest[len..];
    }
    assert_eq!(lists.len(), 1, "brackets match in {text}");
    lists.remove(0)
}

fn put_length(out: &mut Vec<u8>, len: usize) {
    let mut rest = len;
    loop {
        let low = (rest & 0x7F) as u8;
        rest >>= 7;
        if rest == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

/// The reverse, for messages.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
