"""Reads inputs, outputs, ports, environments, resources, retry settings and identities."""

from __future__ import annotations

from ..model.expressions import Binding, Text
from ..model.places import Places
from ..model.values import (
    DATA_TYPES,
    INPUT_MODES,
    OUTPUT_MODES,
    PRIMITIVE_TYPES,
    Environment,
    Identity,
    Input,
    Output,
    Port,
    Resources,
    RetrySettings,
)
from .fields import Fields, Source, binding_of, each, scalar_text, shown, template_of
from .tree import Node

_PORT_TYPES = (*DATA_TYPES, *PRIMITIVE_TYPES, "path")
_IDENTITIES = (
    "user_identity", "managed", "managed_identity", "aml_token", "user", "UserIdentity", "Managed",
    "AMLToken",
)  # fmt: skip


def read_inputs(fields: Fields) -> dict[str, Input]:
    """Read ``inputs`` of a job or a step; inputs without a value are left out."""
    source = fields.source
    return each(fields.entries("inputs"), lambda name, node: read_input(name, node, source))


def read_input(name: str, node: Node, source: Source) -> Input | None:
    """Read the value of an input; None if it has none."""
    if node.value is None:
        return None
    if not isinstance(node.value, dict):
        if isinstance(node.value, list):
            source.add(node.place, f"the input {name!r} is a list; expected a literal, or data.")
            return None
        return _bound_or(Input(value=node.value, places=Places(node.place)), node, source)
    fields = Fields(node, source, f"the input {name!r}")
    value_node = fields.get("value")
    value = fields.literal("value")
    if value_node is not None and value is not None:
        literal = Input(value=value, places=fields.end())
        return _bound_or(literal, value_node, source)
    type_ = fields.choice("type", (*DATA_TYPES, "path"))
    path_node = fields.get("path")
    mode = fields.choice("mode", INPUT_MODES)
    fields.ignore("path_on_compute", "datastore", "description", "name", "version")
    if path_node is None:
        message = f"the input {name!r} has no path; add 'path: ./folder', or write a literal."
        source.add(node.place, message)
        return None
    places = fields.end()
    binding = binding_of(path_node, source)
    path = "" if binding else fields.path("path")
    return Input(type=type_, path=path, mode=mode, binding=binding, places=places)


def _bound_or(literal: Input, node: Node, source: Source) -> Input:
    """Return a literal, or an input with a binding if the text is one."""
    binding = binding_of(node, source)
    return literal if binding is None else Input(binding=binding, places=literal.places)


def read_outputs(fields: Fields) -> dict[str, Output]:
    """Read ``outputs`` of a job or a step."""
    source = fields.source
    return each(fields.entries("outputs"), lambda name, node: read_output(name, node, source))


def read_output(name: str, node: Node, source: Source) -> Output:
    """Read an output; an empty one has all defaults."""
    if isinstance(node.value, str):
        count = len(source.problems)
        binding = binding_of(node, source)
        if binding is None and len(source.problems) == count:
            message = (
                f"the output {name!r} is {shown(node)}; expected ${{{{parent.outputs.NAME}}}}, or a "
                "mapping such as {type: uri_folder}."
            )
            source.add(node.place, message)
        return Output(binding=binding, places=Places(node.place))
    fields = Fields(node, source, f"the output {name!r}")
    path_node = fields.get("path")
    binding = binding_of(path_node, source) if path_node else None
    is_output = binding is not None and binding.kind != "fact"
    path = None
    if path_node is not None and not is_output and isinstance(path_node.value, str):
        path = template_of(path_node, source)
    fields.ignore("description")
    return Output(
        type=fields.choice("type", DATA_TYPES),
        path=path,
        mode=fields.choice("mode", OUTPUT_MODES),
        binding=binding if is_output else None,
        name=fields.text("name"),
        version=fields.text("version"),
        places=fields.end(),
    )


def read_ports(fields: Fields, name: str) -> dict[str, Port]:
    """Read the declared ``inputs`` or ``outputs`` of a component."""
    kind = name.removesuffix("s")
    return each(
        fields.entries(name),
        lambda key, node: _read_port(Fields(node, fields.source, f"the {kind} {key!r}")),
    )


def _read_port(fields: Fields) -> Port:
    fields.ignore("early_available", "is_control")
    fields.require("type")
    return Port(
        type=fields.choice("type", _PORT_TYPES),
        optional=bool(fields.flag("optional")),
        default=fields.literal("default"),
        description=fields.text("description"),
        mode=fields.choice("mode", (*INPUT_MODES, *OUTPUT_MODES, "link")),
        min=fields.literal("min"),
        max=fields.literal("max"),
        enum=fields.texts("enum") or (),
        places=fields.end(),
    )


def read_environment(fields: Fields, name: str = "environment") -> Environment | None:
    """Read an environment: a reference, a definition, or the file of one."""
    node = fields.get(name)
    if node is None:
        return None
    source = fields.source
    if isinstance(node.value, str):
        if node.value.startswith("azureml:") or binding_of(node, source):
            return Environment(reference=node.value, places=Places(node.place))
        if not node.value.startswith("file:") and not node.value.endswith((".yml", ".yaml")):
            # Azure's client takes a bare name:version as registered, too.
            return Environment(reference=f"azureml:{node.value}", places=Places(node.place))
        return _environment_in_file(node, source)
    return environment_of(Fields(node, source, "an environment"))


def _environment_in_file(node: Node, source: Source) -> Environment | None:
    from ..model.problems import JobFileError
    from .tree import read_tree

    path = source.path(scalar_text(node))
    try:
        tree = read_tree(path)
    except JobFileError as error:
        source.add(node.place, f"environment {node.value!r}: {error.problems[0]}")
        return None
    return environment_of(Fields(tree, Source(path, source.problems), "an environment"))


def environment_of(fields: Fields) -> Environment:
    """Read the definition of an environment."""
    build = fields.nested("build", "build")
    build_path = dockerfile_path = ""
    if build is not None:
        build_path, dockerfile_path = build.path("path"), build.text("dockerfile_path")
        build.end()
    conda = fields.get("conda_file")
    is_content = conda is not None and isinstance(conda.value, dict)
    fields.ignore("inference_config", "datastore", "id", "type")
    return Environment(
        name=fields.text("name"),
        version=fields.text("version"),
        image=fields.text("image"),
        conda_file=fields.plain("conda_file") if is_content else fields.path("conda_file") or None,
        build_path=build_path,
        dockerfile_path=dockerfile_path,
        description=fields.text("description"),
        tags=fields.names("tags"),
        os_type=fields.text("os_type"),
        places=fields.end(),
    )


def read_resources(fields: Fields) -> Resources | None:
    """Read ``resources``."""
    inner = fields.nested("resources", "resources")
    if inner is None:
        return None
    node = inner.get("docker_args")
    is_list = node is not None and isinstance(node.value, list)
    docker = inner.texts("docker_args") if is_list else (inner.text("docker_args"),)
    return Resources(
        instance_count=inner.number("instance_count"),
        instance_type=inner.text("instance_type"),
        shm_size=inner.text("shm_size"),
        docker_args=tuple(text for text in docker or () if text),
        locations=inner.texts("locations") or (),
        max_instance_count=inner.number("max_instance_count"),
        properties=inner.plain("properties"),
        places=inner.end(),
    )


def read_retry_settings(fields: Fields) -> RetrySettings | None:
    """Read ``retry_settings``."""
    inner = fields.nested("retry_settings", "retry_settings")
    if inner is None:
        return None
    return RetrySettings(
        max_retries=inner.number("max_retries"),
        timeout=inner.number("timeout"),
        places=inner.end(),
    )


def read_identity(fields: Fields) -> Identity | None:
    """Read ``identity``."""
    inner = fields.nested("identity", "identity")
    if inner is None:
        return None
    return Identity(
        type=inner.choice("type", _IDENTITIES),
        client_id=inner.text("client_id"),
        object_id=inner.text("object_id"),
        msi_resource_id=inner.text("msi_resource_id"),
        places=inner.end(),
    )


def read_variables(fields: Fields) -> dict[str, Text] | Binding:
    """Read ``environment_variables``: texts with expressions by name, or one binding."""
    node = fields.get("environment_variables")
    if node is None:
        return {}
    binding = binding_of(node, fields.source)
    if binding is not None:
        return binding
    variables = {}
    for key, item in fields.entries("environment_variables").items():
        if isinstance(item.value, dict | list):
            fields.wrong(f"environment_variables.{key}", item, "a text")
        elif (text := template_of(item, fields.source)) is not None:
            variables[key] = text
    return variables
