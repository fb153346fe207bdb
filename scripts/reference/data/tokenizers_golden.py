"""Records what Python's tokenizers and transformers give, for src/data/tokenizer.test.ts and chat.test.ts.

Usage: python scripts/reference/data/tokenizers_golden.py DATA_FOLDER   (the folder with tok/*.gz)
Writes tests/golden/data/tokenizers.json, chat.json and the small tokenizer tests/golden/data/llama-style/.
"""
import gzip, json, os, sys, tempfile
from tokenizers import Tokenizer, AddedToken, models, normalizers, decoders, processors, trainers
from transformers import BertTokenizerFast, GPT2TokenizerFast, PreTrainedTokenizerFast

data = sys.argv[1]
out = os.path.join(os.path.dirname(__file__), "..", "..", "..", "tests", "golden", "data")

TEXTS = [
    "Hello, world!", "  leading and   inner  spaces ", "Tabs\tand\nnew\r\nlines\n\n\n", "naïve café déjà-vu Ångström",
    "emoji 😀👩‍👩‍👧‍👦🇩🇪 end", "中文字符 and 日本語 テスト", "𠀀𠀁 rare Han", "don't we'll I'M THEY'RE", "1234567890 3.14159 1,000,000",
    "<|endoftext|> inside <|endoftext|>text", "[CLS] hidden [SEP] specials [MASK] [mask]", "a<s>b</s> c <unk>",
    "Здравствуй мир! Γειά σου", "مرحبا بالعالم", "x" * 120, "\u00a0nbsp\u200bzero\u3000wide", "ﬁ ligature ½ ² ™", "def f(x):\n    return x**2  # why",
    "e\u0301 combining e\u0301", "\u0000null\u0007bell", "ñandú – “quotes” …", "İstanbul ǅ ß ẞ",
]
PAIRS = [["How old are you?", "I'm 6 years old."], ["", "second only"], ["é", "中"]]


def record(tok):
    return [{"text": t, "ids": tok.encode(t, add_special_tokens=False), "special": tok.encode(t),
             "decoded": tok.decode(tok.encode(t), clean_up_tokenization_spaces=False),
             "skipped": tok.decode(tok.encode(t), skip_special_tokens=True, clean_up_tokenization_spaces=False)} for t in TEXTS]


def pairs(tok, length):
    rows = []
    for a, b in PAIRS:
        e = tok(a, b, return_token_type_ids=True)
        s = tok(a * 5, b * 3, return_token_type_ids=True, truncation="longest_first", max_length=length)
        rows.append({"a": a, "b": b, "ids": e["input_ids"], "types": e["token_type_ids"], "length": length,
                     "cut": s["input_ids"], "cutTypes": s["token_type_ids"]})
    return rows


def unpack(name, target):
    with gzip.open(os.path.join(data, "tok", name)) as f, open(target, "wb") as g:
        g.write(f.read())


with tempfile.TemporaryDirectory() as tmp:
    unpack("gpt2.encoder.json.gz", f"{tmp}/vocab.json")
    unpack("gpt2.vocab.bpe.gz", f"{tmp}/merges.txt")
    unpack("bert.vocab.txt.gz", f"{tmp}/vocab.txt")
    gpt2 = GPT2TokenizerFast(vocab=f"{tmp}/vocab.json", merges=f"{tmp}/merges.txt")
    bert = BertTokenizerFast(vocab=f"{tmp}/vocab.txt")

corpus = ["The cat sat on the mat and the dog ran to the red house.", "Once upon a time there was a little girl named Lily.",
          "She liked to play with her toy in the park, and then they went home.", "What is the capital of France? Paris is the capital."] * 8
model = models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True)
core = Tokenizer(model)
core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
special = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
core.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=420, special_tokens=special, show_progress=False))
spec = json.loads(core.to_str())
spec["added_tokens"] = [t for t in spec["added_tokens"] if t["id"] < 3]
core = Tokenizer.from_str(json.dumps(spec))
core.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)])
llama = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>")
folder = os.path.join(out, "llama-style")
os.makedirs(folder, exist_ok=True)
core.save(os.path.join(folder, "tokenizer.json"), pretty=False)
json.dump({"bos_token": {"__type": "AddedToken", "content": "<s>"}, "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>",
           "clean_up_tokenization_spaces": False}, open(os.path.join(folder, "tokenizer_config.json"), "w"))

json.dump({"gpt2": {"rows": record(gpt2)}, "bert": {"rows": record(bert), "pairs": pairs(bert, 12)},
           "llama": {"rows": record(llama), "pairs": pairs(llama, 11)}},
          open(os.path.join(out, "tokenizers.json"), "w"), ensure_ascii=True)

TEMPLATES = {
    "chatml": "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "llama2": "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    "generation": "{% for message in messages %}\n    {%- if message.role == 'assistant' %}\n        {{- '<a>' }}\n        {%- generation %}\n        {{- message.content + eos_token }}\n        {%- endgeneration %}\n        {{- '\\n' }}\n    {%- else %}\n        {{- '<' + message.role + '>' + message.content + '\\n' }}\n    {%- endif %}\n{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<a>' }}\n{%- endif %}\n",
    "blocks": "{% for message in messages %}\n[{{ message.role }}]\n{% if message.role == 'assistant' %}\n  {% generation %}\n{{ message.content }}{{ eos_token }}\n  {% endgeneration %}\n{% else %}\n{{ message.content }}\n{% endif %}\n{% endfor %}\n",
}
CHATS = [
    [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello there."}],
    [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me  "},
     {"role": "user", "content": "Why\n\nso?"}, {"role": "assistant", "content": "Because é 😀."}],
]
chat = []
for name, template in TEMPLATES.items():
    for messages in CHATS:
        text = llama.apply_chat_template(messages, chat_template=template, tokenize=False)
        prompt = llama.apply_chat_template(messages[:-1], chat_template=template, tokenize=False, add_generation_prompt=True)
        from transformers.utils.chat_template_utils import render_jinja_template
        spans = None
        if "generation %}" in template:
            _, spans = render_jinja_template([messages], chat_template=template, return_assistant_tokens_mask=True, **llama.special_tokens_map)
            spans = [list(s) for s in spans[0]]
        ids = llama.encode(text, add_special_tokens=False)
        chat.append({"name": name, "template": template, "messages": messages, "text": text, "prompt": prompt, "spans": spans, "ids": ids})
json.dump(chat, open(os.path.join(out, "chat.json"), "w"), ensure_ascii=True)
