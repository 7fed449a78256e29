"""The steps of ``loops`` with plain pointers and numbers for arguments, and the machine code that numba makes of them.

Results go into memory that the caller has.
"""

from __future__ import annotations

import re
from typing import Any

import llvmlite.binding as llvm
from numba import carray, from_dtype, njit, types

from pipeline.features import loops, machine

#: ``machine``'s letters of arguments.
TYPES: dict[str, Any] = {letter: types.CPointer(from_dtype(kind)) for letter, kind in machine.ARRAYS.items()}
TYPES |= {"i": types.int64, "r": types.float64}

#: Of a function that nobody calls from Python: without what does that for numba.
ALONE: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "error_model": "numpy"}


def gather_chosen(y: Any, n: int, hop: int, wanted: Any, out: Any, rows: int, n_fft: int) -> None:
    loops.gather_chosen(carray(y, n), hop, carray(wanted, rows), carray(out, (rows, n_fft)))


def windowed(sound: Any, n: int, hop: int, window: Any, out: Any, rows: int, n_fft: int) -> None:
    loops.windowed(carray(sound, n), hop, carray(window, n_fft), carray(out, (rows, n_fft)))


def sounding(y: Any, n: int, ends: Any) -> None:
    ends[0], ends[1] = loops.sounding(carray(y, n))


def divided(y: Any, n: int, by: float, out: Any) -> None:
    loops.divided_into(carray(y, n), by, carray(out, n))


def add_magnitudes(total: Any, frames: int, filters: int, parts: Any, blocks: int, width: int) -> None:
    loops.add_magnitudes(carray(total, (frames, filters)), carray(parts, (blocks, frames, width)))


def add_peaks(total: Any, frames: int, y: Any, n: int, hop: int, n_fft: int, blocks: Any, count: int) -> None:
    loops.add_peaks_into(carray(total, frames), carray(y, n), hop, n_fft, carray(blocks, count))


def candidates(power: Any, frames: int, bins: int, floors: Any, low: int, high: int, positions: Any, mask: Any) -> int:
    places = carray(positions, frames * (high - low) + 1)
    rows, levels = carray(power, (frames, bins)), carray(floors, frames)
    return loops.candidates_into(rows, levels, low, high, places, carray(mask, high - low))


def peaks(
    spectrum: Any, frames: int, bins: int, floors: Any, places: Any, n: int, where: Any, shifts: Any, heights: Any
) -> int:
    values, levels = carray(spectrum, frames * bins), carray(floors, frames)
    found, beside, high = carray(where, n), carray(shifts, n), carray(heights, n)
    return loops.peaks_into(values, bins, levels, carray(places, n), found, beside, high)


def frequencies(where: Any, shifts: Any, heights: Any, n: int, least: float, sr: float, n_fft: int, hertz: Any) -> int:
    found, beside, high = carray(where, n), carray(shifts, n), carray(heights, n)
    return loops.frequencies_into(found, beside, high, least, sr, n_fft, carray(hertz, n))


def mode(places: Any, n: int, edges: Any, bins: int, counts: Any) -> int:
    return loops.mode_into(carray(places, n), carray(edges, bins + 1), carray(counts, bins))


#: What an object file may not need: functions and variables of numba or Python, which are not there without them.
FOREIGN = re.compile(r"^declare [^@]*@(?!llvm\.)([^(\s]+)|^@(\S+) = external", re.MULTILINE)


def machine_code() -> dict[str, tuple[str, bytes]]:
    """Step → name of its function in an object file, and that file's bytes. ``ValueError`` where one needs more than itself."""
    made = {}
    for step, letters in machine.KINDS.items():
        compiled = njit(**ALONE)(globals()[step])
        compiled.compile(tuple(TYPES[letter] for letter in letters))
        (result,) = compiled.overloads.values()
        made[step] = result.fndesc.llvm_func_name, alone(result)
    return made


def alone(result: Any) -> bytes:
    """The object file of one compiled function, without the others that numba puts beside it and nobody calls."""
    name, target = result.fndesc.llvm_func_name, result.library.codegen._tm
    module = llvm.parse_assembly(result.library.get_llvm_str())
    for function in module.functions:
        if not function.is_declaration and function.name != name:
            function.linkage = "internal"
    passes = llvm.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.add_strip_dead_prototype_pass()
    passes.run(module, llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options()))
    if foreign := FOREIGN.findall(str(module)):
        raise ValueError(f"{name} needs {foreign}; expected what is in it alone")
    return bytes(target.emit_object(module))
