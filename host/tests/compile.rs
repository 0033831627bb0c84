//! The process that compiles a component, with its limits, on a component as large as an
//! interpreter with its libraries.

use std::fs;
use std::process::Command;

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

#[test]
fn a_component_of_18_mb_is_compiled_within_the_compilers_limits() {
    let directory = tempfile::tempdir().unwrap();
    let [input, output] = ["large.wasm", "large.cwasm"].map(|name| directory.path().join(name));
    let component = large_component();
    let size = component.len();
    assert!((17 << 20..19 << 20).contains(&size), "{size} bytes are not what is to be shown");
    fs::write(&input, component).unwrap();
    let mut compiler = Command::new(env!("CARGO_BIN_EXE_wharf"));
    compiler.arg("compile-component").arg(&input).arg(&output);
    // As the host starts it: each thread of the compiler takes address space of its own.
    compiler.env_clear().env("RAYON_NUM_THREADS", "2").env("MALLOC_ARENA_MAX", "2");
    let ended = compiler.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{}: {said}", ended.status);
    assert!(fs::metadata(&output).unwrap().len() > size as u64, "there is code for all of it");
}
