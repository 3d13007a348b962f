use super::{
    super::testing::{Fake, id, table},
    *,
};

/// Longer than a table is kept without being used.
const LATER: u64 = 10 * KEEP_NS;

fn pages_of(table: &UnwindTable) -> usize {
    table.words().len().div_ceil(PAGE_WORDS)
}

/// A table is asked for, built, and waits for pages.
fn build(objects: &mut Objects, number: ObjectNumber, kernel: &Fake) {
    assert!(objects.request(number));
    objects.built(number, Some(table()), kernel);
}

fn load(objects: &mut Objects, kernel: &Fake) {
    objects.load(kernel, LATER, &mut |_| {});
}

#[test]
fn a_table_lies_in_the_kernel_as_it_was_built() {
    let (kernel, table) = (Fake::default(), table());
    let mut objects = Objects::new(1 << 20);
    let number = objects.number(&id(1), &kernel).unwrap();
    assert_eq!(objects.state(number), ObjectState::Missing);
    build(&mut objects, number, &kernel);
    assert!(!objects.request(number), "it is on its way");
    let mut written = Vec::new();
    objects.load(&kernel, LATER, &mut |run| written.push(run));
    assert_eq!(objects.state(number), ObjectState::Ready);
    let descriptor = kernel.object(number.0).unwrap();
    assert_eq!(written, [Run { first: descriptor.first_page, count: pages_of(&table) as u32 }]);
    let pages = kernel.state();
    let words = pages.pages.values().flat_map(|page| page.iter().copied());
    assert!(words.eq(table.words().iter().copied()));
    assert_eq!(objects.counts().table_bytes, pages_of(&table) * PAGE_BYTES);
}

#[test]
fn the_longest_unused_table_makes_way() {
    let kernel = Fake::default();
    // Two tables fit, as a third one wants half as much again.
    let mut objects = Objects::new(2 * pages_of(&table()) * PAGE_BYTES);
    let numbers: Vec<_> = (1..4).map(|n| objects.number(&id(n), &kernel).unwrap()).collect();
    for number in &numbers[..2] {
        build(&mut objects, *number, &kernel);
    }
    load(&mut objects, &kernel);
    // The first is in use, the second was used long ago.
    kernel.state().objects.get_mut(&numbers[0].0).unwrap().used_ns = LATER;
    build(&mut objects, numbers[2], &kernel);
    load(&mut objects, &kernel);
    // A walk may still read the pages that were taken away: they are not given yet.
    assert_eq!(objects.state(numbers[2]), ObjectState::Missing);
    load(&mut objects, &kernel);
    let states: Vec<_> = numbers.iter().map(|number| objects.state(*number)).collect();
    assert_eq!(states, [ObjectState::Ready, ObjectState::Missing, ObjectState::Ready]);
    assert_eq!(kernel.object(numbers[1].0).unwrap().state, ObjectState::Missing as u32);
    assert_eq!(objects.counts().evicted, 1);
    // Whoever needs it again asks again.
    assert!(objects.request(numbers[1]));
}

#[test]
fn what_is_in_use_does_not_make_way() {
    let kernel = Fake::default();
    let mut objects = Objects::new(pages_of(&table()) * PAGE_BYTES);
    let numbers: Vec<_> = (1..3).map(|n| objects.number(&id(n), &kernel).unwrap()).collect();
    build(&mut objects, numbers[0], &kernel);
    load(&mut objects, &kernel);
    kernel.state().objects.get_mut(&numbers[0].0).unwrap().used_ns = LATER - KEEP_NS + 1;
    build(&mut objects, numbers[1], &kernel);
    for _ in 0..3 {
        load(&mut objects, &kernel);
    }
    assert_eq!(objects.state(numbers[0]), ObjectState::Ready);
    assert!(objects.is_requested(numbers[1]));
}

#[test]
fn a_table_larger_than_all_room_is_none() {
    let kernel = Fake::default();
    let mut objects = Objects::new(PAGE_BYTES - 1);
    let number = objects.number(&id(1), &kernel).unwrap();
    build(&mut objects, number, &kernel);
    load(&mut objects, &kernel);
    assert_eq!(objects.state(number), ObjectState::Failed);
    assert_eq!(kernel.object(number.0).unwrap().state, ObjectState::Failed as u32);
    assert_eq!(objects.counts().failed, 1);
}

#[test]
fn an_unused_object_gives_its_number_to_another() {
    let kernel = Fake::default();
    let mut objects = Objects::new(1 << 20);
    let numbers: Vec<_> = (0..MAX_OBJECTS)
        .map(|number| {
            let mut bytes = [0; 20];
            bytes[..4].copy_from_slice(&number.to_le_bytes());
            let build_id =
                fleetprof_proto::ids::BuildId::new(fleetprof_proto::ids::BuildIdKind::Gnu, &bytes);
            let id = ObjectId { build_id: build_id.unwrap(), ..id(0) };
            objects.number(&id, &kernel).unwrap()
        })
        .collect();
    assert_eq!(objects.number(&id(77), &kernel), None, "all are in use");
    objects.release(numbers[5]);
    assert_eq!(objects.number(&id(77), &kernel), Some(numbers[5]));
    assert_eq!(objects.id(numbers[5]), Some(&id(77)));
}
