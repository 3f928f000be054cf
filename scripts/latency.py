"""Frame rate of a network: a warm-up, then the forward pass alone, again and again, each pass measured by itself."""

import argparse
from pathlib import Path

from pipeline_lib import cli, devices, startup

KEYPOINTS = 17


def main(arguments: argparse.Namespace) -> None:
    devices.check(arguments.device)
    from pipeline_lib import artifacts
    from pipeline_lib.evaluate import latency
    from pipeline_lib.nets import files, registry

    if arguments.weights is not None:
        network, weights = files.load(arguments.weights)
        network = network.resized(arguments.height or network.height, arguments.width or network.width)
    else:
        size = arguments.height or 256, arguments.width or 192
        network, weights = registry.architecture(arguments.network, *size, KEYPOINTS), None
    protocol = latency.Protocol(
        passes=arguments.passes,
        warm_up=arguments.warm_up,
        batch=arguments.batch,
        dtype=arguments.dtype,
        xla=arguments.xla,
        threads=arguments.threads,
        device=arguments.device,
    )
    name = arguments.name or arguments.network or arguments.weights.parent.name
    devices.lease(arguments.device, arguments.accelerators, f"frame rate of {name}")
    startup.load_keras(name)
    result = latency.benchmark(name, network, weights, protocol)
    if arguments.result:
        artifacts.write_json(arguments.result, result)
    print(latency.as_text(result))


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    what = options.add_mutually_exclusive_group(required=True)
    what.add_argument("--weights", type=Path, help="weights file of a network (safetensors)")
    what.add_argument("--network", help="name of a network, such as evopose2d_s, with new weights")
    options.add_argument("--name", help="how the result calls it (default: --network, or the folder of --weights)")
    options.add_argument("--height", type=cli.positive, help="input height in pixels (default: the file's, or 256)")
    options.add_argument("--width", type=cli.positive, help="input width in pixels (default: the file's, or 192)")
    options.add_argument("--batch", type=cli.positive, default=1, help="images in a pass (default: %(default)s)")
    options.add_argument("--passes", type=cli.positive, default=1000, help="measured passes (default: %(default)s)")
    options.add_argument("--warm-up", type=cli.non_negative, default=50, help="passes before (default: %(default)s)")
    options.add_argument(
        "--dtype", choices=("float32", "bfloat16"), default="float32", help="arithmetic of all but the last convolution"
    )
    options.add_argument("--xla", action="store_true", help="compile with XLA")
    options.add_argument(
        "--threads", type=cli.positive, default=1, help="TensorFlow's CPU threads (default: %(default)s)"
    )
    options.add_argument("--device", choices=devices.CHOICES, default="auto", help="where to compute (default: auto)")
    options.add_argument("--accelerators", type=cli.non_negative, help="TPUs or GPUs to lease (default: 1)")
    options.add_argument("--result", type=Path, help="output: the measurement (JSON)")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
