"""TensorFlow's side: the training step and generation in tf.function, with or without XLA. NHWC, its own form."""
import worker
import dcgan

import numpy as np
import tensorflow as tf

tf.config.threading.set_intra_op_parallelism_threads(worker.THREADS)


def ours(name, value, side):
    """PyTorch's order of weights in TensorFlow's: convolutions [5,5,C,K], and maps flattened as [H,W,C] instead of [C,H,W]."""
    if value.ndim == 4:
        return value.transpose(2, 3, 1, 0)
    if name == "project.weight":  # [C H W, nz]
        return value.reshape(-1, side, side, dcgan.NZ).transpose(1, 2, 0, 3).reshape(-1, dcgan.NZ).T
    if name == "head.weight":  # [1, C H W]
        return value.reshape(-1, side, side).transpose(1, 2, 0).reshape(-1, 1)
    return value


def upsample(x):
    """Of the ways to say it the one whose gradient is fast in f32 and bf16: resize and broadcast take 3 to 10 times as long."""
    n, h, w, c = x.shape
    x = tf.reshape(tf.concat([x, x], 3), [n, h, 2 * w, c])
    return tf.reshape(tf.concat([x, x], 2), [n, 2 * h, 2 * w, c])


class Networks:
    """Functions of G and D on tensors by name; `dtype` is that of the activations."""

    def __init__(self, net, dtype):
        self.side, channels = dcgan.layout(net)
        self.size, self.stages, self.dtype = net["size"], len(channels) - 1, dtype

    def conv(self, x, w, name, stride):
        # SAME pads by 2 where the stride is 1, but by 1 and 2 where it is 2. Explicit padding in conv2d itself leaves oneDNN.
        if stride > 1:
            x = tf.pad(x, [[0, 0], [2, 2], [2, 2], [0, 0]])
        return tf.nn.conv2d(x, tf.cast(w[f"{name}.weight"], self.dtype), stride, "SAME" if stride == 1 else "VALID")

    def biased(self, x, w, name):
        return tf.nn.bias_add(x, tf.cast(w[f"{name}.bias"], self.dtype))

    def norm_leaky(self, x, w, name, training):
        part = lambda which: w[f"{name}.{which}"]
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x, scale=part("weight"), offset=part("bias"), epsilon=1e-5, is_training=training,
            mean=[] if training else part("running_mean"), variance=[] if training else part("running_var"))
        if training:
            part("running_mean").assign_add(0.1 * (mean - part("running_mean")))
            part("running_var").assign_add(0.1 * (variance - part("running_var")))
        return tf.nn.leaky_relu(y, 0.2)

    def G(self, w, z, training):
        x = tf.matmul(tf.cast(z, self.dtype), tf.cast(w["project.weight"], self.dtype))
        x = self.norm_leaky(tf.reshape(x, [z.shape[0], self.side, self.side, -1]), w, "project_norm", training)
        for i in range(1, self.stages + 1):
            x = self.norm_leaky(self.conv(upsample(x), w, f"conv{i}", 1), w, f"norm{i}", training)
        return tf.tanh(self.biased(self.conv(x, w, "to_image", 1), w, "to_image"))

    def D(self, w, x):
        for i in range(1, self.stages + 1):
            x = tf.nn.leaky_relu(self.biased(self.conv(x, w, f"conv{i}", 2), w, f"conv{i}"), 0.2)
        x = tf.matmul(tf.reshape(x, [x.shape[0], -1]), tf.cast(w["head.weight"], self.dtype))
        return tf.cast(self.biased(x, w, "head"), tf.float32)


def bce(logits, target):
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(tf.fill(logits.shape, target), logits))


class Training:
    def __init__(self, spec):
        self.dtype = tf.bfloat16 if spec["precision"] == "bf16" else tf.float32
        self.networks = Networks(spec["net"], self.dtype)
        self.G, self.D = ({name: tf.Variable(ours(name, value, self.networks.side)) for name, value in each.items()}
                          for each in dcgan.first_weights(spec["net"]))
        self.average = {name: tf.Variable(value) for name, value in self.G.items()}
        self.trained_G = [value for name, value in self.G.items() if dcgan.trained(name)]
        self.trained_D = list(self.D.values())
        self.moments = {value.ref(): [tf.Variable(tf.zeros_like(value)) for _ in range(2)] for value in self.trained_G + self.trained_D}
        self.count = tf.Variable(0.0)
        form = self.joint if spec["form"] == "joint" else self.alternating
        self.step = tf.function(lambda pictures, z: self.whole(form, pictures, z), jit_compile=spec["mode"] == "xla")
        self.info = {"parameters": [sum(int(np.prod(v.shape)) for v in each) for each in (self.trained_G, self.trained_D)]}

    def adam(self, variables, gradients):
        power1, power2 = dcgan.BETA1**self.count, dcgan.BETA2**self.count
        for variable, gradient in zip(variables, gradients):
            m, v = self.moments[variable.ref()]
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle, m=m.handle, v=v.handle, beta1_power=power1, beta2_power=power2, lr=dcgan.LEARNING_RATE,
                beta1=dcgan.BETA1, beta2=dcgan.BETA2, grad=gradient,
                epsilon=dcgan.EPSILON * tf.sqrt(1 - power2))  # its epsilon stands before the correction of v, the paper's after it

    def whole(self, form, pictures, z):
        self.count.assign_add(1.0)
        real = tf.cast(tf.cast(pictures, tf.float32) / 127.5 - 1, self.dtype)
        losses = form(real, z)
        for average, value in zip(self.average.values(), self.G.values()):
            average.assign_add((1 - dcgan.EMA_DECAY) * (value - average))
        return losses

    def alternating(self, real, z):
        G, D = self.networks.G, self.networks.D
        with tf.GradientTape() as tape_g:
            fake = G(self.G, z, True)
            with tape_g.stop_recording(), tf.GradientTape() as tape_d:
                loss_d = bce(D(self.D, real), 1.0) + bce(D(self.D, fake), 0.0)
            with tape_g.stop_recording():
                self.adam(self.trained_D, tape_d.gradient(loss_d, self.trained_D))
            loss_g = bce(D(self.D, fake), 1.0)
        self.adam(self.trained_G, tape_g.gradient(loss_g, self.trained_G))
        return loss_g, loss_d

    def joint(self, real, z):
        G, D = self.networks.G, self.networks.D
        with tf.GradientTape() as tape_g, tf.GradientTape() as tape_d:
            fake_logits = D(self.D, G(self.G, z, True))
            loss_d = bce(D(self.D, real), 1.0) + bce(fake_logits, 0.0)
            loss_g = bce(fake_logits, 1.0)
        gradients_d, gradients_g = tape_d.gradient(loss_d, self.trained_D), tape_g.gradient(loss_g, self.trained_G)
        self.adam(self.trained_D, gradients_d)
        self.adam(self.trained_G, gradients_g)
        return loss_g, loss_d


def prepare_training(spec):
    training = Training(spec)
    pictures, latents = dcgan.batches(spec["net"], spec["batch"], spec["steps"])
    pictures = tf.constant(pictures)
    step = lambda z: [float(loss) for loss in training.step(pictures, z)]
    training.info["losses"] = [step(tf.constant(z)) for z in latents]
    return lambda: step(tf.random.normal([spec["batch"], dcgan.NZ])), training.info


def prepare_generation(spec):
    networks = Networks(spec["net"], tf.float32)
    # Constants, so that the graph's optimiser can fold them.
    weights = {name: tf.constant(ours(name, value, networks.side)) for name, value in dcgan.load_safetensors(spec["model"]).items()}
    z = tf.constant(dcgan.latents(spec["count"]))
    G = tf.function(lambda z: networks.G(weights, z, False), jit_compile=spec["mode"] == "xla")
    generate = lambda: G(z).numpy()
    return generate, {"difference": dcgan.largest_difference(generate(), spec["pictures"])}


if __name__ == "__main__":
    worker.serve(lambda spec: prepare_generation(spec) if spec["work"] == "generate" else prepare_training(spec))
