"""The claims of the field's lectures, one experiment a file; `gentrain demo list`.

- `attention_reach`: self-attention compares far corners, which few convolutions cannot
- `best_critic`: the best critic is p / (p + q), and the game's value there is 2 JSD - 2 log 2
- `bilinear_game`: games that circle, and what makes them converge
- `blurred_means`: blurred means of a VAE, sharp samples of a GAN with the same decoder
- `boltzmann_mends`: Boltzmann machines mend a broken digit, and how long it takes
- `clipped_weights`: what clipping does to weights and to gradients of deep critics
- `coupling_layers`: triangular Jacobians, and images between the latents of four
- `disjoint_supports`: between supports that do not meet JSD is flat, and the distance is not
- `elbo`: the bound is log p - KL, and importance samples close the gap
- `growing`: a level that fades in against one that is there at once
- `historical_averaging`: a game that circles converges to the mean of its past
- `hopfield_capacity`: a Hopfield network recalls 0.138 N patterns
- `importance_weights`: the best proposal is proportional to p |f|
- `inverse_autoregressive_flows`: one pass or D passes, and a student of the other kind
- `label_smoothing`: one-sided label smoothing, and what is wrong with both sides
- `markov_chains`: chains that reach their target, and chains that do not
- `optimal_plan`: the cheapest plan on the corners of a square
- `planar_flow`: a determinant in D steps, and what few planar maps cannot bend
- `rate_distortion`: what beta moves
- `receptive_fields`: what masks hide, and the blind spot
- `saturation`: the better the critic, the less the saturating loss teaches
- `two_divergences`: the inclusive KL covers, the exclusive one chooses
- `two_scores`: what the Inception Score and the Frechet distance see
- `virtual_batch_norm`: what a sample owes to its batch
"""
