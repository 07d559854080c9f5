//! Memory that is reused within the cycle: what a loop needs, and that nothing alive is given away.

use ndarena::{
    AllocationPolicy, Array, LearningPolicy, Settings, Workspace, WorkspaceConfiguration,
};

const GRANULE: u64 = 64;

/// One step of a cycle; a death names the request that dies.
#[derive(Clone, Copy, Debug)]
enum Step {
    Alloc(u64),
    Free(usize),
}

type Cycle = Vec<Step>;

/// A workspace that takes exactly what it learns from its first `cycles` cycles.
fn workspace(cycles: u32) -> Workspace {
    let settings = Settings {
        policy_allocation: AllocationPolicy::Strict,
        policy_learning: LearningPolicy::OverTime,
        cycles_before_initialization: cycles,
        ..Settings::default()
    };
    let configuration = WorkspaceConfiguration::new(settings).expect("valid");
    Workspace::new(configuration, "ARENA").expect("a workspace")
}

/// Runs a cycle with every request scaled to `percent`; every array holds its own bytes until it
/// dies. Returns how many requests were served outside the arena.
fn run_scaled(workspace: &Workspace, cycle: &[Step], percent: u64) -> u64 {
    let scope = workspace.notify_scope_entered().expect("enters");
    let mut arrays: Vec<Option<Array>> = Vec::new();
    let (mut outside, mut spilled) = (0, 0);
    for &step in cycle {
        match step {
            Step::Alloc(len) => {
                let len = usize::try_from(len * percent / 100).expect("fits in memory");
                let array = workspace.full(&[len], mark(arrays.len())).expect("has room");
                arrays.push(Some(array));
                let now = workspace.stats().spilled_size;
                outside += u64::from(now > spilled);
                spilled = now;
            }
            Step::Free(index) => {
                check(arrays[index].as_ref(), index);
                arrays[index] = None;
                spilled = workspace.stats().spilled_size;
            }
        }
    }
    for (index, array) in arrays.iter().enumerate() {
        check(array.as_ref(), index);
    }
    scope.close().expect("is the innermost");
    outside
}

fn run(workspace: &Workspace, cycle: &[Step]) -> u64 {
    run_scaled(workspace, cycle, 100)
}

fn mark(index: usize) -> u8 {
    u8::try_from(index % 251).expect("below 251")
}

fn check(array: Option<&Array>, index: usize) {
    let Some(array) = array else { return };
    let sample = |bytes: &[u8]| bytes.iter().step_by(61).all(|&byte| byte == mark(index));
    assert!(array.read(sample).expect("is valid"), "array {index} holds the bytes of another");
}

/// Writes cycles as a program would run them.
#[derive(Default)]
struct Trace {
    steps: Cycle,
    requests: usize,
}

impl Trace {
    fn alloc(&mut self, elements: u64) -> usize {
        self.steps.push(Step::Alloc((elements * 4).next_multiple_of(GRANULE)));
        self.requests += 1;
        self.requests - 1
    }

    fn free(&mut self, index: usize) {
        self.steps.push(Step::Free(index));
    }

    /// The result of an operation whose operands die with it.
    fn consume<const N: usize>(&mut self, operands: [usize; N], elements: u64) -> usize {
        let result = self.alloc(elements);
        for operand in operands {
            self.free(operand);
        }
        result
    }
}

/// A training step of a multi-layer perceptron: `a = tanh(x @ w + b)`, soft-max, gradients, update.
fn mlp(batch: u64, widths: &[u64]) -> Cycle {
    let mut t = Trace::default();
    let input = t.alloc(batch * widths[0]);
    let mut activations = vec![input];
    for &width in &widths[1..] {
        let product = t.alloc(batch * width);
        let sum = t.consume([product], batch * width);
        let activation = t.consume([sum], batch * width);
        activations.push(activation);
    }
    let classes = widths[widths.len() - 1];
    let logits = activations[activations.len() - 1];
    let highest = t.alloc(batch);
    let shifted = t.consume([highest], batch * classes);
    let exp = t.consume([shifted], batch * classes);
    let total = t.alloc(batch);
    let soft = t.consume([exp, total], batch * classes);
    let mut delta = t.consume([soft, logits], batch * classes);
    let mut gradients = Vec::new();
    for layer in (0..widths.len() - 1).rev() {
        gradients.push(t.alloc(widths[layer] * widths[layer + 1]));
        gradients.push(t.alloc(widths[layer + 1]));
        if layer > 0 {
            let back = t.consume([delta], batch * widths[layer]);
            let square = t.alloc(batch * widths[layer]);
            let slope = t.consume([square], batch * widths[layer]);
            delta = t.consume([back, slope, activations[layer]], batch * widths[layer]);
        } else {
            t.free(delta);
        }
    }
    for gradient in gradients {
        let scaled = t.alloc(256);
        t.free(gradient);
        t.free(scaled);
    }
    t.steps
}

/// An LSTM over `steps` time steps; training keeps what the way back needs.
fn lstm(steps: u64, batch: u64, width: u64, training: bool) -> Cycle {
    let mut t = Trace::default();
    let unit = batch * width;
    let (mut hidden, mut cell) = (t.alloc(unit), t.alloc(unit));
    let mut kept = Vec::new();
    let mut outputs = Vec::new();
    for _ in 0..steps {
        let from_input = t.alloc(4 * unit);
        let from_hidden = t.alloc(4 * unit);
        let sum = t.consume([from_input, from_hidden], 4 * unit);
        let z = t.consume([sum], 4 * unit);
        let gates: [usize; 4] = std::array::from_fn(|_| {
            let negative = t.alloc(unit);
            let exp = t.consume([negative], unit);
            t.consume([exp], unit)
        });
        t.free(z);
        let remembered = t.alloc(unit);
        let added = t.alloc(unit);
        let new_cell = t.consume([remembered, added], unit);
        let tanh = t.alloc(unit);
        let new_hidden = t.alloc(unit);
        if training {
            kept.push((gates, tanh, cell));
        } else {
            for gate in gates {
                t.free(gate);
            }
            t.free(tanh);
            t.free(cell);
        }
        let output = t.alloc(unit);
        outputs.push(output);
        t.free(hidden);
        (hidden, cell) = (new_hidden, new_cell);
    }
    let mut delta = t.alloc(unit);
    let gradient = t.alloc(8 * width * width);
    for (gates, tanh, cell) in kept.into_iter().rev() {
        let parts = gates.map(|gate| t.consume([gate], unit));
        let joined = t.consume(parts, 4 * unit);
        let step = t.alloc(8 * width * width);
        t.free(step);
        delta = t.consume([joined, delta, tanh, cell], unit);
    }
    t.free(gradient);
    t.free(delta);
    t.steps
}

/// Forward and backward through transformer blocks.
fn transformer(layers: u64, tokens: u64, width: u64) -> Cycle {
    let mut t = Trace::default();
    let unit = tokens * width;
    let mut x = t.alloc(unit);
    let mut kept = Vec::new();
    for _ in 0..layers {
        let norm = t.alloc(unit);
        let heads = [t.alloc(unit), t.alloc(unit), t.alloc(unit)];
        let scores = t.alloc(4 * tokens * tokens);
        let scaled = t.consume([scores], 4 * tokens * tokens);
        let exp = t.consume([scaled], 4 * tokens * tokens);
        let total = t.alloc(4 * tokens);
        let soft = t.consume([exp, total], 4 * tokens * tokens);
        let mixed = t.alloc(unit);
        let attended = t.consume([mixed], unit);
        let wide = t.alloc(4 * unit);
        let active = t.alloc(4 * unit);
        let narrow = t.alloc(unit);
        let next = t.consume([narrow, attended], unit);
        kept.push((norm, heads, soft, wide, active, x));
        x = next;
    }
    let mut delta = t.alloc(unit);
    for (norm, heads, soft, wide, active, below) in kept.into_iter().rev() {
        let weight = t.alloc(4 * width * width);
        let wide_delta = t.consume([wide, active], 4 * unit);
        let narrow = t.consume([wide_delta, weight], unit);
        let soft_delta = t.consume([soft], 4 * tokens * tokens);
        let head_deltas = heads.map(|head| t.consume([head], unit));
        let joined = t.consume(head_deltas, unit);
        delta = t.consume([joined, soft_delta, narrow, norm, below, delta], unit);
    }
    t.free(delta);
    t.steps
}

/// `count` requests of mixed sizes, about `living` alive at once; a linear congruence draws.
fn random(count: usize, living: usize) -> Cycle {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut draw = |n: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut t = Trace::default();
    let mut alive = Vec::new();
    for _ in 0..count {
        let magnitude = draw(8);
        alive.push(t.alloc(256 + draw(256 << magnitude)));
        if alive.len() > living {
            let index = usize::try_from(draw(alive.len() as u64)).expect("an index");
            t.free(alive.swap_remove(index));
        }
    }
    t.steps
}

#[test]
fn a_steady_loop_needs_hardly_more_than_is_alive_at_once() {
    let traces = [
        ("MLP 784-1000-10", mlp(128, &[784, 1000, 10]), 102),
        ("MLP 784-1000-500-200-10", mlp(128, &[784, 1000, 500, 200, 10]), 102),
        ("MLP 64-64-10", mlp(32, &[64, 64, 10]), 102),
        ("LSTM inference", lstm(50, 32, 128, false), 115),
        ("LSTM training", lstm(50, 32, 128, true), 102),
        ("transformer, 4 layers", transformer(4, 64, 128), 102),
        ("transformer, 12 layers", transformer(12, 64, 128), 102),
        ("random, 40 alive", random(2000, 40), 115),
        ("random, 200 alive", random(1500, 200), 115),
    ];
    for (name, cycle, percent) in traces {
        let workspace = workspace(1);
        run(&workspace, &cycle);
        let (peak, needed) = (workspace.stats().peak_size, workspace.stats().current_size);
        assert!(needed >= peak, "{name}: {needed} bytes for a peak of {peak}");
        assert!(needed * 100 <= percent * peak, "{name}: {needed} bytes for a peak of {peak}");
        for _ in 0..3 {
            assert_eq!(run(&workspace, &cycle), 0, "{name}: spilled");
        }
        assert_eq!(workspace.stats().current_size, needed, "{name}");
    }
}

#[test]
fn a_thousand_temporaries_need_the_memory_of_two() {
    let mut t = Trace::default();
    let mut last = t.alloc(1024);
    for _ in 0..1000 {
        last = t.consume([last], 1024);
    }
    let workspace = workspace(1);
    run(&workspace, &t.steps);
    assert_eq!(workspace.stats().current_size, 2 * 4096);
    assert_eq!(run(&workspace, &t.steps), 0);
}

#[test]
fn two_alternating_cycles_never_spill() {
    let (training, testing) = (mlp(64, &[100, 200, 10]), transformer(2, 32, 64));
    let workspace = workspace(4);
    for turn in 0..20 {
        let outside = run(&workspace, &training) + run(&workspace, &testing);
        assert_eq!(outside > 0, turn < 2, "turn {turn}");
    }
}

#[test]
fn a_shorter_last_batch_never_spills() {
    let cycle = mlp(32, &[64, 64, 10]);
    let workspace = workspace(1);
    run(&workspace, &cycle);
    for percent in [100, 100, 62, 100, 100, 100, 62] {
        assert_eq!(run_scaled(&workspace, &cycle, percent), 0);
    }
}

#[test]
fn cycles_of_changing_shape_keep_their_bytes_apart() {
    let shapes = [random(300, 12), mlp(16, &[30, 60, 10]), lstm(5, 8, 16, true), random(200, 3)];
    let workspace = workspace(3);
    let mut outside = 0;
    for turn in 0..60 {
        let (first, second) = (&shapes[turn % 4], &shapes[turn * turn % 3]);
        let requests =
            |cycle: &[Step]| cycle.iter().filter(|s| matches!(s, Step::Alloc(_))).count();
        let mut cycle = first[..first.len() * (turn % 5 + 1) / 5].to_vec();
        let before = requests(&cycle);
        cycle.extend(second.iter().map(|step| match *step {
            Step::Alloc(len) => Step::Alloc(len),
            Step::Free(index) => Step::Free(index + before),
        }));
        outside += run(&workspace, &cycle);
    }
    assert!(outside > 0, "the learning cycles spill");
    assert!(workspace.stats().current_size > 0);
}
