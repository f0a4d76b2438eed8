"""The networks that are compared, as shapes and first weights: `dcgan` with ngf = ndf = 64, in PyTorch's names and order.

Every peer starts from these numbers and takes its first steps on the same pictures and latents, so that the losses of all of
them must agree. numpy only.
"""
import json
import os

import numpy as np

NZ, NGF, NDF = 100, 64, 64
LEARNING_RATE, BETA1, BETA2, EPSILON = 2e-4, 0.5, 0.999, 1e-8
EMA_DECAY = 0.999


def model(net):
    """As in a model file's metadata. `net` is {"size": pixels a side, "channels": 1 or 3}."""
    return dict(name="dcgan", height=net["size"], width=net["size"], channels=net["channels"], nz=NZ, ngf=NGF, ndf=NDF, base=0,
                d_norm=False, dropout=0.0)


def layout(net):
    """Side of the first feature map, and the channels after each halving of the picture, the picture's own first."""
    side, channels = net["size"], [net["channels"]]
    while side > 7:
        side = (side + 1) // 2
        channels.append(min(512, NGF * 2 ** (len(channels) - 1)))
    return side, channels


def shapes(net):
    """Of the generator's tensors and of the discriminator's."""
    side, channels = layout(net)
    stages = len(channels) - 1
    base = min(512, NGF * 2**stages)
    norm = lambda name, c: {f"{name}.{part}": (c,) for part in ("weight", "bias", "running_mean", "running_var")}
    G = {"project.weight": (base * side * side, NZ), **norm("project_norm", base)}
    before = base
    for i, after in enumerate(reversed(channels[1:]), 1):
        G |= {f"conv{i}.weight": (after, before, 5, 5), **norm(f"norm{i}", after)}
        before = after
    G |= {"to_image.weight": (channels[0], before, 5, 5), "to_image.bias": (channels[0],)}
    D = {}
    for i in range(1, stages + 1):
        D |= {f"conv{i}.weight": (channels[i], channels[i - 1], 5, 5), f"conv{i}.bias": (channels[i],)}
    D |= {"head.weight": (1, channels[-1] * side * side), "head.bias": (1,)}
    return G, D


def first_weights(net):
    """N(0, 0.02) for what has several dimensions, 1 for scales and variances, 0 for the rest."""
    random = np.random.default_rng(0)

    def draw(name, shape):
        if len(shape) > 1:
            return (0.02 * random.standard_normal(shape)).astype(np.float32)
        one = "norm" in name and name.endswith(("weight", "running_var"))
        return np.full(shape, 1 if one else 0, np.float32)

    return tuple({name: draw(name, shape) for name, shape in each.items()} for each in shapes(net))


def trained(name):
    """Running statistics are no parameters."""
    return not name.split(".")[-1].startswith("running")


def batches(net, batch, steps):
    """Pictures [N,H,W,C] as bytes, and latents [N,nz] for each of the steps."""
    random = np.random.default_rng(1)
    pictures = random.integers(0, 256, (batch, net["size"], net["size"], net["channels"]), dtype=np.uint8)
    return pictures, random.standard_normal((steps, batch, NZ)).astype(np.float32)


def load_safetensors(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = file.read()
    header.pop("__metadata__", None)
    return {name: np.frombuffer(data[slice(*each["data_offsets"])], np.float32).reshape(each["shape"]).copy()
            for name, each in header.items()}


def latents(count):
    return np.random.default_rng(2).standard_normal((count, NZ)).astype(np.float32)


def pictures(network, count):
    """For a translator: [N,C,H,W] in [-1, 1]."""
    size = count, network["channels"], network["height"], network["width"]
    return np.random.default_rng(3).uniform(-1, 1, size).astype(np.float32)


def largest_difference(pictures, path):
    """Of pictures [N,H,W,C] to those that the first peer left in the file `path`, which is written where it is not there."""
    if not os.path.exists(path):
        np.save(path, pictures)
    return float(np.abs(np.load(path) - pictures).max())
