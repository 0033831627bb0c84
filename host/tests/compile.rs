//! The process that compiles a component: its limits, and what it does within them with a component
//! as large as an interpreter with its libraries.

#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests fail as tests do")]

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use wasm_encoder::{
    BlockType, CodeSection, Component, ConstExpr, DataSection, Function, FunctionSection,
    InstructionSink, MemArg, MemorySection, MemoryType, Module, ModuleSection, TypeSection,
    ValType,
};

/// As a Python guest has them: half of its 18 MB is code, in functions of 700 bytes.
const FUNCTIONS: u32 = 12_000;
const STATEMENTS: u32 = 49;
const DATA_BYTES: usize = 9 << 20;
const LOCALS: u32 = 12;

/// The same numbers in every run.
struct Numbers(u32);

impl Numbers {
    fn below(&mut self, bound: u32) -> u32 {
        // Numerical Recipes' generator; its upper bits are the better ones.
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 12) % bound
    }
}

/// A statement as compilers write them: arithmetic, memory, a call, a branch around the next one.
fn statement(code: &mut InstructionSink<'_>, numbers: &mut Numbers, nested: u32) {
    let [a, b, c] = [0; 3].map(|_| numbers.below(LOCALS));
    let at = MemArg { offset: u64::from(numbers.below(4096)), align: 2, memory_index: 0 };
    match numbers.below(if nested < 3 { 8 } else { 6 }) {
        0 | 1 => code.local_get(a).local_get(b).i32_add().local_set(c),
        2 => code.local_get(a).i32_const(7).i32_mul().local_get(b).i32_xor().local_set(c),
        3 => code.local_get(a).i32_load(at).local_set(b),
        4 => code.local_get(a).local_get(b).i32_store(at),
        5 => code.local_get(a).call(numbers.below(FUNCTIONS)).local_set(b),
        _ => {
            code.block(BlockType::Empty).local_get(a).local_get(b).i32_lt_s().br_if(0);
            statement(code, numbers, nested + 1);
            statement(code, numbers, nested + 1);
            code.end()
        }
    };
}

fn large_component() -> Vec<u8> {
    let mut numbers = Numbers(1);
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], [ValType::I32]);
    let (mut functions, mut code) = (FunctionSection::new(), CodeSection::new());
    for _ in 0..FUNCTIONS {
        functions.function(0);
        let mut function = Function::new([(LOCALS - 1, ValType::I32)]);
        let mut instructions = function.instructions();
        (0..STATEMENTS).for_each(|_| statement(&mut instructions, &mut numbers, 0));
        instructions.local_get(0).end();
        code.function(&function);
    }
    let mut memories = MemorySection::new();
    let pages = (DATA_BYTES >> 16) as u64 + 1;
    memories.memory(MemoryType {
        minimum: pages,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut data = DataSection::new();
    let bytes = (0..DATA_BYTES).map(|_| numbers.below(256).to_le_bytes()[0]);
    data.active(0, &ConstExpr::i32_const(0), bytes);
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&memories).section(&code).section(&data);
    let mut component = Component::new();
    component.section(&ModuleSection(&module));
    component.finish()
}

/// Half a megabyte for which the compiler notes, for each variable, what it is in each block before:
/// 2 GiB of it.
fn component_that_takes_memory() -> Vec<u8> {
    const BLOCKS: u32 = 50_000;
    const VARIABLES: u32 = 5_000;
    let mut function = Function::new([(VARIABLES, ValType::I32)]);
    let mut code = function.instructions();
    for _ in 0..BLOCKS {
        code.block(BlockType::Empty).local_get(0).br_if(0).end();
    }
    for variable in 0..VARIABLES {
        code.i32_const(1).local_set(variable);
    }
    code.local_get(0).end();
    let (mut types, mut functions) = (TypeSection::new(), FunctionSection::new());
    types.ty().function([ValType::I32], [ValType::I32]);
    functions.function(0);
    let (mut code, mut module, mut component) =
        (CodeSection::new(), Module::new(), Component::new());
    code.function(&function);
    module.section(&types).section(&functions).section(&code);
    component.section(&ModuleSection(&module));
    component.finish()
}

/// The compiler as the host starts it: each thread takes address space of its own.
fn compiler(input: &Path, output: &Path) -> Command {
    let mut compiler = Command::new(env!("CARGO_BIN_EXE_wharf"));
    compiler.arg("compile-component").arg(input).arg(output);
    compiler.env_clear().env("RAYON_NUM_THREADS", "2").env("MALLOC_ARENA_MAX", "2");
    compiler
}

/// The end of a pipe at a path that a process begins to read.
fn read_by(reader: &mut Child, path: &Path) -> File {
    loop {
        // Refused until somebody reads.
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        if let Ok(pipe) = OpenOptions::new().write(true).custom_flags(flags).open(path) {
            return pipe;
        }
        if let Some(status) = reader.try_wait().unwrap() {
            panic!("it ends without reading {}: {status}", path.display());
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// What stands after a name in a file of `/proc`.
fn after<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("{name}: {text}")).split_whitespace().collect()
}

/// The nice value of a process, which is the 19th of its numbers and the 17th after its name.
fn niceness(process: &str) -> i32 {
    let numbers = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, numbers) = numbers.rsplit_once(')').unwrap();
    numbers.split_whitespace().nth(16).unwrap().parse().unwrap()
}

#[test]
fn the_compiler_is_limited_and_stands_back_before_it_reads_a_byte_of_a_component() {
    let directory = tempfile::tempdir().unwrap();
    let [input, output] = ["pipe", "none.cwasm"].map(|name| directory.path().join(name));
    assert!(Command::new("mkfifo").arg(&input).status().unwrap().success());
    let mut compiler = compiler(&input, &output).stderr(Stdio::piped()).spawn().unwrap();
    let pipe = read_by(&mut compiler, &input);
    let process = compiler.id().to_string();
    let of = |name: &str| fs::read_to_string(format!("/proc/{process}/{name}")).unwrap();
    let limits = of("limits");
    for (name, soft_and_hard) in [
        ("Max address space", "1073741824"),
        ("Max file size", "536870912"),
        ("Max cpu time", "300"),
    ] {
        assert_eq!(after(&limits, name).get(..2).unwrap(), [soft_and_hard; 2], "{name}");
    }
    assert_eq!(of("oom_score_adj").trim(), "1000");
    assert_eq!(niceness(&process), (niceness("self") + 10).min(19));
    drop(pipe);
    let ended = compiler.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && said.starts_with("component: "), "{said}");
}

#[test]
fn a_component_of_18_mb_is_compiled_within_the_compilers_limits() {
    let directory = tempfile::tempdir().unwrap();
    let [input, output] = ["large.wasm", "large.cwasm"].map(|name| directory.path().join(name));
    let component = large_component();
    let size = component.len();
    assert!((17 << 20..19 << 20).contains(&size), "{size} bytes are not what is to be shown");
    fs::write(&input, component).unwrap();
    let ended = compiler(&input, &output).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{}: {said}", ended.status);
    assert!(fs::metadata(&output).unwrap().len() > size as u64, "there is code for all of it");
}

#[test]
fn a_component_that_takes_more_memory_than_the_compiler_may_have_ends_the_compiler_alone() {
    let directory = tempfile::tempdir().unwrap();
    let [input, output] = ["greedy.wasm", "greedy.cwasm"].map(|name| directory.path().join(name));
    fs::write(&input, component_that_takes_memory()).unwrap();
    let ended = compiler(&input, &output).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.signal().is_some(), "{}: {said}", ended.status);
    assert!(said.contains("memory allocation of "), "{said}");
    assert!(!output.exists());
}
