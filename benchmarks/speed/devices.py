"""Weak scaling: what a chain-step costs as simulated devices and chains grow together, one chain a device.

The devices are threads of this computer's cores, so that the clock cannot show more than there are cores; processor
time a chain-step can: it stays the same where devices cost nothing themselves. Beside it the same chains on one
device, and the examples laid over the devices instead.
"""

import argparse

import jax
from jax.sharding import AxisType, Mesh

import llc
from benchmarks.peers import summary
from benchmarks.speed.nets import STEP_SIZE, WIDTHS, Sampling, make_posterior, make_problem
from benchmarks.speed.turns import Records, in_turns, milliseconds, run_section, table

DEVICES = (1, 2, 4, 8)
N = 20_000


def measure(options: argparse.Namespace, records: Records) -> None:
    """Milliseconds a chain-step, by the clock and of processors."""
    widths = (16, 16, 4) if options.quick else WIDTHS
    alone = make_posterior(make_problem(widths, 512 if options.quick else N), widths, options.batch)
    kernel = llc.samplers.SGLD(STEP_SIZE, gradient="minibatch")
    calls, chains = {}, {}
    for devices in DEVICES:
        layouts = {"chains over devices": alone.on(mesh_of(devices, "chain")), "all on one device": alone}
        if devices > 1:
            layouts["examples over devices"] = alone.on(mesh_of(devices, "data"))
        for layout, posterior in layouts.items():
            name = f"{devices} chains, {layout}"
            calls[name], chains[name] = Sampling(kernel, posterior, devices), devices
    times = in_turns(calls, turns=options.turns, seconds=options.seconds)
    rows = []
    for name, measured in times.items():
        wall, cpu = ([t / chains[name] for t in record] for record in (measured.wall, measured.cpu))
        records.add("devices", name, measured, chains=chains[name])
        rows.append([name, milliseconds(wall), milliseconds(cpu), summary([measured.cold], ".1f")])
    table("chains | ms a chain-step | ms of processors | first call, s", rows)


def mesh_of(devices: int, axis: str) -> Mesh:
    """The first devices, along one axis."""
    return jax.make_mesh((devices,), (axis,), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices])


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", max(DEVICES))  # before anything asks for one
    run_section(measure, __doc__, batch=512)
