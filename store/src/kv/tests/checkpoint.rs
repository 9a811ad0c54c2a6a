//! The digest of a state, and the state as bytes.

use super::*;

#[test]
fn the_digest_tells_any_two_histories_apart() {
    let base = filled().digest();
    assert_eq!(base, filled().digest());
    let mut digests = vec![base];
    for change in [
        put("d", "4"),
        put("d", "5"),
        put("e", "4"),
        PutRequest {
            ignore_lease: true,
            ..put("d", "6")
        },
    ] {
        let mut kv = filled();
        do_put(&mut kv, change);
        digests.push(kv.digest());
    }
    let mut kv = filled();
    do_delete(&mut kv, delete("d", ""));
    digests.push(kv.digest());
    let count = digests.len();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), count);
    let mut kv = filled();
    do_txn(&mut kv, success(vec![op_get("a")]));
    assert_eq!(kv.digest(), base, "a read changes nothing");
}

/// A large value and a long history cross the borders of chunks.
fn large() -> Kv {
    let mut kv = filled();
    for round in 0..40 {
        do_put(&mut kv, put("b", &"x".repeat(100_000 + round)));
    }
    do_put(&mut kv, put("c", &"y".repeat(CHUNK_BYTES + 1)));
    do_delete(&mut kv, delete("c", "d"));
    do_put(&mut kv, put("e", ""));
    kv
}

#[test]
fn a_checkpoint_reads_back() {
    for kv in [Kv::new(), filled(), large()] {
        let chunks = kv.encode();
        let decoded = Kv::decode(chunks.clone()).expect("decodes");
        assert_eq!(decoded, kv);
        assert_eq!(decoded.encode(), chunks, "equal states make equal bytes");
        assert!(chunks.iter().all(|chunk| chunk.len() <= 2 * CHUNK_BYTES + 1024));
    }
    assert!(large().encode().len() > 5, "the large one has several chunks of keys");
}

#[test]
fn a_checkpoint_that_is_not_whole_is_refused() {
    let chunks = large().encode();
    for missing in 0..chunks.len() {
        let mut chunks = chunks.clone();
        chunks.remove(missing);
        assert!(Kv::decode(chunks).is_err(), "without chunk {missing}");
    }
    for place in 0..chunks.len() {
        let mut repeated = chunks.clone();
        repeated.insert(place, chunks[place].clone());
        assert!(Kv::decode(repeated).is_err(), "with chunk {place} twice");
    }
    // A chunk that would fit, had the state not ended before it.
    let mut other = Kv::new();
    do_put(&mut other, put("z", ""));
    let mut longer = chunks.clone();
    longer.push(other.encode().remove(1));
    assert!(Kv::decode(longer).is_err(), "with a chunk after the tail");
    let mut swapped = chunks.clone();
    swapped.swap(1, 2);
    assert!(Kv::decode(swapped).is_err());
    assert_eq!(Kv::decode([]), Err(CheckpointError::Cut { chunks: 0 }));
}

#[test]
fn a_checkpoint_with_a_flipped_bit_is_refused() {
    let chunks = filled().encode();
    for (place, chunk) in chunks.iter().enumerate() {
        for bit in 0..chunk.len() * 8 {
            let mut damaged = chunk.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let mut chunks = chunks.clone();
            chunks[place] = Bytes::from(damaged);
            assert!(Kv::decode(chunks).is_err(), "bit {bit} of chunk {place}");
        }
    }
}

/// However far a compaction has come, its checkpoint is the same, and so is what it leaves in the end; and the size is
/// what is counted anew.
#[test]
fn a_compaction_gives_memory_back_step_by_step() {
    let mut kv = filled();
    for round in 0..2000 {
        do_put(&mut kv, put(&format!("k{}", round % 700), "x"));
        if round % 3 == 0 {
            do_delete(&mut kv, delete(&format!("k{}", round % 700), ""));
        }
    }
    let at = kv.revision().0 - 5;
    let request = |physical| CompactionRequest { revision: at, physical };
    let (mut stepwise, mut at_once) = (kv.clone(), kv.clone());
    apply(&mut stepwise, command::Request::Compact(request(false)));
    apply(&mut at_once, command::Request::Compact(request(true)));
    assert!(stepwise.size_bytes() < kv.size_bytes() && at_once.size_bytes() < stepwise.size_bytes());
    assert_eq!(stepwise.encode(), at_once.encode());
    let copy = Kv::decode(stepwise.encode()).expect("decodes");
    assert_eq!(copy.size_bytes(), at_once.size_bytes());
    for _ in 0..10 {
        let _ = stepwise.apply(&Command::default());
    }
    assert!(stepwise == at_once, "what is left differs");
    assert!(copy.keys == at_once.keys, "what is copied differs");
}
