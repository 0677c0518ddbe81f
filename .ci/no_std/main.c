/* Runs the probe, and fails unless the client got all that it is owed. */
unsigned long probe(void);

/* Rust's own libraries name it, though nothing unwinds. */
void rust_eh_personality(void) {}

int main(void) {
    const unsigned long connack = 4, suback = 5, publish = 7;
    return probe() != connack + suback + publish;
}
